//! A worker's process: started in a group of its own, watched, and never left behind.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, waitid};

use super::reader::shown;
use crate::engine::EngineError;

/// Lines of standard error that an error shows.
const LAST_LINES: usize = 15;
/// After SIGTERM, before SIGKILL.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Debug)]
pub struct Launch {
    pub program: String,
    pub arguments: Vec<String>,
    /// A script that the program gets as this open file: `arguments` name it.
    pub script: Option<OwnedFd>,
    /// What to do where the program is not there.
    pub remedy: String,
}

impl Launch {
    pub fn command(command: &[String]) -> Result<Self, EngineError> {
        let (program, arguments) = command.split_first().ok_or_else(|| {
            EngineError::new(
                "There is no command that starts the worker",
                "Set worker.command to the program and its arguments: [python3, my_worker.py]",
            )
        })?;
        Ok(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            script: None,
            remedy: "Correct worker.command: an absolute path, or a program on PATH".into(),
        })
    }
}

/// A started worker. Dropped, it and all that it started are gone.
pub struct Process {
    child: Child,
    group: Pid,
    program: String,
    last: Arc<Mutex<VecDeque<String>>>,
    status: Option<ExitStatus>,
}

impl Process {
    pub fn start(launch: Launch) -> Result<(Self, ChildStdin, ChildStdout), EngineError> {
        let Launch {
            program,
            arguments,
            script,
            remedy,
        } = launch;
        let mut command = Command::new(&program);
        command
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: we cancel, and the worker tells what it had.
            .process_group(0);
        let script_fd = script.as_ref().map(|file| file.as_raw_fd());
        let parent = getpid().as_raw_nonzero().get();
        // SAFETY: between fork and exec only system calls that are async-signal-safe are made,
        // and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                // Ends with us, also where we are killed. Counts for the thread that starts it:
                // the engine is opened on the thread that runs the measurement.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() != parent {
                    return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
                }
                if let Some(fd) = script_fd
                    && libc::fcntl(fd, libc::F_SETFD, 0) < 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let failed = |error: std::io::Error| {
            EngineError::new(
                format!("The worker {program:?} cannot be started: {error}"),
                remedy.clone(),
            )
        };
        let mut child = command.spawn().map_err(failed)?;
        drop(script);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(group), (Some(stdin), Some(stdout), Some(stderr))) = (pid, ends) else {
            return Err(failed(std::io::Error::other("it has no standard streams")));
        };
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&last);
        std::thread::Builder::new()
            .name("lem-worker-stderr".into())
            .spawn(move || keep_last(stderr, &kept))
            .map_err(failed)?;
        let process = Self {
            child,
            group,
            program,
            last,
            status: None,
        };
        Ok((process, stdin, stdout))
    }

    pub fn program(&self) -> &str {
        &self.program
    }

    /// A remedy, which ends with the last lines that it wrote to standard error.
    pub fn with_last_words(&self, remedy: &str) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_empty() {
            return format!("{remedy}. It wrote nothing to standard error");
        }
        let lines: Vec<&str> = last.iter().map(String::as_str).collect();
        format!("{remedy}. Its last lines:\n  {}", lines.join("\n  "))
    }

    /// How it ended, if it does so within the time. What it started itself ends with it.
    pub fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if self.status.is_some() {
                return self.status;
            }
            // Not reaped before its group is swept: until then the number is not used again.
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(self.group), how) {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    let _ = kill_process_group(self.group, Signal::KILL);
                    self.status = self.child.wait().ok();
                    return self.status;
                }
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it, politely first.
    pub fn stop(&mut self) {
        if self.ended(Duration::ZERO).is_some() {
            return;
        }
        let _ = kill_process_group(self.group, Signal::TERM);
        if self.ended(PATIENCE).is_none() {
            self.kill();
        }
    }

    pub fn kill(&mut self) {
        if self.status.is_none() {
            let _ = kill_process_group(self.group, Signal::KILL);
            // One that the kernel does not let go (a driver's call) is not waited for.
            self.ended(Duration::from_secs(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// For people: `exit code 3`, `signal 9 (killed)`.
pub fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "signal 9 (killed; for lack of memory?)".into(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    }
}

/// Progress bars write lines without end: those are cut, not kept.
fn keep_last(from: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(1 << 16).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // Of a line that was drawn over itself, the last state.
        let drawn = line.trim_ascii_end();
        let drawn = drawn.rsplit(|b| *b == b'\r').next().unwrap_or(drawn);
        if drawn.is_empty() {
            continue;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LAST_LINES {
            kept.pop_front();
        }
        kept.push_back(shown(drawn));
    }
}
