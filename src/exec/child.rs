//! Running the command: signals go on to it, and its end is the kernel's word.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};

use lem_record::Stamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::VARIABLE;
use super::pipe::Pipe;

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    /// Its standard output goes to our standard error.
    pub output_to_stderr: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    /// As a shell tells it: 128 and the signal's number, for one that a signal ended.
    pub fn status(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        };
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }
}

/// The end of a command.
#[derive(Debug)]
pub struct Ended {
    pub exit: Exit,
    pub end_ns: u64,
    pub cpu_seconds: f64,
    /// `None`: not above what this process had when it started the command, which the kernel
    /// counts as the command's too.
    pub peak_memory_bytes: Option<u64>,
    /// The last signal that was passed on to it and asks to end.
    pub asked: Option<&'static str>,
}

/// Signals that are passed on: number, name, ours, and whether a terminal sends it to the
/// whole foreground by itself.
const PASSED: [(SignalKind, &str, Signal, bool); 6] = [
    (SignalKind::interrupt(), "SIGINT", Signal::INT, true),
    (SignalKind::quit(), "SIGQUIT", Signal::QUIT, true),
    (SignalKind::terminate(), "SIGTERM", Signal::TERM, false),
    (SignalKind::hangup(), "SIGHUP", Signal::HUP, false),
    (SignalKind::user_defined1(), "SIGUSR1", Signal::USR1, false),
    (SignalKind::user_defined2(), "SIGUSR2", Signal::USR2, false),
];
const ASKS_TO_END: [&str; 4] = ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"];

/// Whom signals are passed on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Away from a terminal the command has a process group of its own, and what we get
    /// goes to all of it.
    Own,
    /// At a terminal it stays in ours: it may read from the terminal, and Ctrl-C and Ctrl-Z
    /// reach it from there. Passed on is what was sent to us alone.
    Shared,
}

impl Group {
    fn choose() -> Self {
        let terminal =
            io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        if terminal { Self::Shared } else { Self::Own }
    }
}

/// Starts the program and lives until it has ended. `begun` is called right before; `took`
/// gets what came through the pipe, with the time of its arrival.
pub fn supervise(
    program: &Program,
    pipe: &Pipe,
    begun: impl FnOnce(),
    mut took: impl FnMut(&[u8], u64),
) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let group = Group::choose();
        let marks = pipe.open()?;
        let mut signals = signals(group)?;
        let mut command = command(program, pipe.path().as_os_str(), group)?;
        begun();
        let child = command.spawn()?;
        let own = crate::meter::peak_memory_bytes().unwrap_or(0);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the process has no number"))?;
        // Waited for below, with its resources: `Child` itself waits for nothing.
        drop((child, command));
        let mut ended = wait(pid)?;
        let mut asked = None;
        let (exit, end_ns, resources) = loop {
            tokio::select! {
                biased;
                end = &mut ended => {
                    break end.map_err(|_| io::Error::other("the thread that waits for the command ended"))??;
                }
                Some((name, signal)) = signals.recv() => {
                    if ASKS_TO_END.contains(&name) {
                        asked = Some(name);
                    }
                    // One that has just ended needs no signal.
                    let _ = match group {
                        Group::Own => kill_process_group(pid, signal),
                        Group::Shared => kill_process(pid, signal),
                    };
                }
                ready = marks.readable() => {
                    ready?;
                    read(&marks, false, &mut took)?;
                }
            }
        };
        // What was sent and not read yet.
        read(&marks, true, &mut took)?;
        Ok(Ended {
            exit,
            end_ns,
            cpu_seconds: resources.0,
            peak_memory_bytes: Some(resources.1).filter(|peak| *peak > own),
            asked,
        })
    })
}

fn command(program: &Program, pipe: &OsStr, group: Group) -> io::Result<Command> {
    let mut command = Command::new(&program.program);
    command.args(&program.arguments).env(VARIABLE, pipe);
    if program.output_to_stderr {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        command.stdout(Stdio::from(stderr));
    }
    if group == Group::Own {
        command.process_group(0);
    }
    Ok(command)
}

/// Reads what is there, 64 KiB at most unless `all`, so that a sender without measure does
/// not keep us from the rest.
fn read(marks: &Receiver, all: bool, took: &mut impl FnMut(&[u8], u64)) -> io::Result<()> {
    let mut buffer = [0; 1 << 14];
    let most = if all { 256 } else { 4 };
    for _ in 0..most {
        match marks.try_read(&mut buffer) {
            Ok(n) => took(buffer.get(..n).unwrap_or_default(), Stamp::mono_ns()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The signals that come to us. One that was ignored when we were started (`nohup`, a job in
/// the background of a script) stays so, here and in the command.
fn signals(group: Group) -> io::Result<mpsc::Receiver<(&'static str, Signal)>> {
    let ignored = ignored();
    let (tell, told) = mpsc::channel(16);
    for (kind, name, passed, by_terminal) in PASSED {
        if ignored >> (kind.as_raw_value() - 1) & 1 == 1 {
            continue;
        }
        let mut stream = signal(kind)?;
        let tell = tell.clone();
        let pass = !(by_terminal && group == Group::Shared);
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                // Caught also where it is not passed on: it must not end us.
                if pass && tell.send((name, passed)).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(told)
}

/// The first signal that asks to end ends this process from here on: the handlers that were
/// there for the command stay, and would swallow it.
pub fn end_on_signal(code: i32) {
    let ending = std::thread::Builder::new()
        .name("lem-signals".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok(mut signals) = signals(Group::Own) else {
                    return;
                };
                while let Some((name, _)) = signals.recv().await {
                    if ASKS_TO_END.contains(&name) {
                        std::process::exit(code);
                    }
                }
            });
        });
    // Without the thread a signal is swallowed until the deliveries' deadline.
    drop(ending);
}

/// Bits of the signals that are ignored, from `/proc/self/status`; none where it does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

type Waited = io::Result<(Exit, u64, (f64, u64))>;

/// Waits on a thread of its own, so that the end's time is taken at once.
fn wait(pid: Pid) -> io::Result<oneshot::Receiver<Waited>> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name("lem-wait".into())
        .spawn(move || {
            // Nobody to tell: the supervisor is gone.
            let _ = tell.send(wait_for(pid));
        })?;
    Ok(told)
}

/// The end of a child, when it was, and what it and its own children took: seconds of
/// processor time, and the highest resident memory of one of them in bytes.
fn wait_for(pid: Pid) -> Waited {
    let mut status = 0;
    // SAFETY: `rusage` is a plain struct of integers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to locals that outlive the call; `pid` is our child and
        // nobody else waits for it. std and rustix offer no wait that tells the resources.
        let done = unsafe { libc::wait4(pid.as_raw_pid(), &mut status, 0, &mut usage) };
        let end_ns = Stamp::mono_ns();
        if done >= 0 {
            let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
            let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
            let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
            return Ok((Exit::of(ExitStatus::from_raw(status)), end_ns, (cpu, peak)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn exits_are_told_as_shells_do() {
        assert_eq!(Exit::Code(0).status(), 0);
        assert_eq!(Exit::Code(255).status(), 255);
        assert_eq!(Exit::Signal(9).status(), 137);
        assert_eq!(Exit::Signal(15).status(), 143);
    }
}
