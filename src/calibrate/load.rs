//! What loads a GPU in pulses.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lem_record::Stamp;
use rustix::process::{Pid, Signal, kill_process_group};

/// Why there is no load, in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoLoad(pub(super) String);

/// Something that loads the GPU for a time, and says when it really did.
pub trait Load {
    /// When it began and ended, CLOCK_MONOTONIC.
    fn pulse(&mut self, length: Duration) -> Result<(u64, u64), NoLoad>;
}

/// Any command that keeps the GPU busy while it runs, stopped and continued by signals. What it
/// has given to the GPU before a stop is still computed: short kernels make sharp edges.
pub struct CommandLoad {
    child: Child,
    group: Pid,
    name: String,
}

impl CommandLoad {
    /// Starts it, and lets it run for `warm_up` before it is stopped.
    pub fn start(
        program: &OsString,
        arguments: &[OsString],
        warm_up: Duration,
    ) -> Result<Self, NoLoad> {
        let name = program.to_string_lossy().into_owned();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| NoLoad(format!("{name} cannot be started: {error}")))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| NoLoad(format!("{name} has no process id")))?;
        let mut load = Self { child, group, name };
        std::thread::sleep(warm_up);
        load.signal(Signal::STOP)?;
        Ok(load)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), NoLoad> {
        match self.child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                return Err(NoLoad(format!(
                    "{} ended ({status}) before the calibration did; it has to run for the whole of it",
                    self.name
                )));
            }
            Err(error) => return Err(NoLoad(format!("{}: {error}", self.name))),
        }
        kill_process_group(self.group, signal)
            .map_err(|error| NoLoad(format!("{} takes no signal: {error}", self.name)))
    }
}

impl Load for CommandLoad {
    fn pulse(&mut self, length: Duration) -> Result<(u64, u64), NoLoad> {
        let begin = Stamp::mono_ns();
        self.signal(Signal::CONT)?;
        std::thread::sleep(length);
        self.signal(Signal::STOP)?;
        Ok((begin, Stamp::mono_ns()))
    }
}

impl Drop for CommandLoad {
    fn drop(&mut self) {
        // A stopped process dies of SIGKILL all the same.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sh(script: &str, warm_up_ms: u64) -> Result<CommandLoad, NoLoad> {
        let arguments = ["-c".into(), script.into()];
        CommandLoad::start(&"sh".into(), &arguments, Duration::from_millis(warm_up_ms))
    }

    #[test]
    fn a_command_works_only_within_its_pulses_and_ends_with_the_load() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("beat");
        let script = format!("while :; do echo >> {}; sleep 0.01; done", file.display());
        let size = || std::fs::metadata(&file).map_or(0, |m| m.len());
        let mut load = sh(&script, 100).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let stopped = size();
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(size(), stopped);
        let (begin, end) = load.pulse(Duration::from_millis(200)).unwrap();
        assert!(end - begin >= 200_000_000);
        assert!(size() > stopped + 3, "{} {stopped}", size());
        load.signal(Signal::CONT).unwrap();
        drop(load);
        let ended = size();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(size(), ended);
    }

    #[test]
    fn one_that_ends_early_says_so() {
        let mut load = sh("sleep 0.05", 10).unwrap();
        let error = load.pulse(Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("ended"), "{error}");
        let none = CommandLoad::start(&"no-such-program".into(), &[], Duration::ZERO);
        assert!(
            none.err()
                .unwrap()
                .to_string()
                .contains("cannot be started")
        );
    }
}
