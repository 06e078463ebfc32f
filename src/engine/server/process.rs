//! A server that lem started: it lives as long as lem wants it, and no longer than lem.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::launch::Line;
use crate::engine::EngineError;

/// A server that holds a GPU needs a moment to give it back.
const PATIENCE: Duration = Duration::from_secs(20);
/// As much of a log's end as is told of a server that died.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 12;

/// A running server of ours. Dropping it stops it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its group: it and all that it started.
    group: Pid,
    log: PathBuf,
    /// Files with its options, which go with it.
    files: Vec<PathBuf>,
    ended: Option<ExitStatus>,
    /// The log is moved into the run's folder, or told of in an error: it stays.
    keep_log: bool,
}

impl Process {
    /// Starts it with its output going to a file in `folder`.
    pub fn start(line: &Line, folder: &Path) -> Result<Self, EngineError> {
        let own = std::process::id();
        let log = folder.join(format!(".server-{own}.log"));
        let cannot = |path: &Path, error: &std::io::Error| {
            EngineError::new(
                format!("{} cannot be written: {error}", path.display()),
                "Choose another folder of runs with --output",
            )
        };
        std::fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
        let open = || -> std::io::Result<(File, File)> {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .open(&log)?;
            writeln!(file, "$ {}", line.shown())?;
            // Both ends of its output write at the file's end.
            let file = OpenOptions::new().append(true).open(&log)?;
            let twin = file.try_clone()?;
            Ok((file, twin))
        };
        let (out, err) = open().map_err(|error| cannot(&log, &error))?;
        let mut arguments = line.arguments.clone();
        let mut files = Vec::new();
        let mut variables = line.variables.clone();
        let mut file = |what: &str, value: &serde_json::Value| {
            let path = folder.join(format!(".server-{own}-{what}"));
            std::fs::write(&path, value.to_string()).map_err(|error| cannot(&path, &error))?;
            let path = path.canonicalize().unwrap_or(path);
            files.push(path.clone());
            Ok::<_, EngineError>(path.display().to_string())
        };
        if let Some((flag, value)) = &line.options {
            // JSON is YAML.
            let path = file("options.yaml", value)?;
            arguments.extend([(*flag).to_owned(), path]);
        }
        if let Some((variable, value)) = &line.logging {
            let path = file("logging.json", value)?;
            variables.push(((*variable).to_owned(), path));
        }
        let mut command = Command::new(&line.program);
        command
            .args(&arguments)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C at a terminal is for lem, which then stops the server in order.
            .process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls may be made; this one is
        // the system call prctl and touches no memory of ours. std has no safe way to ask for it.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
                    .map_err(std::io::Error::from)
            });
        }
        let child = command.spawn().map_err(|error| {
            let _ = std::fs::remove_file(&log);
            EngineError::new(
                format!("The server cannot be started: {}: {error}", line.program),
                "Install it, or give its path as server.command; server.url attaches to one that runs already",
            )
        })?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| {
            EngineError::new("The server's process has no number", "Start it again")
        })?;
        Ok(Self {
            child,
            group,
            log,
            files,
            ended: None,
            keep_log: false,
        })
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, where it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// What its end looks like to the user, with the last lines that it wrote.
    pub fn told(&mut self, status: ExitStatus) -> EngineError {
        self.keep_log = true;
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("with exit code {code}"),
            (None, Some(9)) => "by signal 9 (killed: often for want of memory)".to_owned(),
            (None, signal) => format!("by signal {}", signal.unwrap_or(0)),
        };
        EngineError::new(
            format!("The server ended {how}. Its last lines:\n{}\n", self.tail()),
            format!("Its whole log is {}", self.log.display()),
        )
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        let lines = lines.get(from..).unwrap_or_default();
        lines
            .iter()
            .map(|line| format!("  {}", crate::config::redact::line(line)))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Puts its log into the run's folder; it goes on writing there.
    pub fn move_log(&mut self, to: &Path) -> std::io::Result<()> {
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::rename(&self.log, to)?;
        self.log = to.to_owned();
        self.keep_log = true;
        Ok(())
    }

    /// Asks it to end and waits until it and all that it started are gone: only then is the
    /// GPU's memory free. What does not listen is killed.
    pub fn stop(&mut self) {
        // One that has just ended needs no signal.
        let _ = kill_process_group(self.group, Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.gone() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !self.gone() {
            let _ = kill_process_group(self.group, Signal::KILL);
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end && !self.gone() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn gone(&mut self) -> bool {
        // Our child first: as long as nobody waited for it, its group exists.
        self.ended().is_some() && !group_lives(self.group)
    }
}

/// Whether a process of the group still runs. One that has ended and that nobody waits for (in a
/// container without an init) is a name in a table and holds nothing.
fn group_lives(group: Pid) -> bool {
    if test_kill_process_group(group).is_err() {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    let group = group.as_raw_pid().to_string();
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // `pid (name) state parent group …`; a name may hold anything.
        let Some((_, after)) = stat.rsplit_once(')') else {
            return false;
        };
        let mut fields = after.split_whitespace();
        let state = fields.next();
        fields.nth(1) == Some(group.as_str()) && !matches!(state, Some("Z" | "X"))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        if !self.keep_log {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

/// A port that nobody listens on now. Between this and the server's start another may take
/// it: then the server ends and says so.
pub fn free_port() -> Result<u16, EngineError> {
    let bound = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    let port = bound.and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(|error| {
        EngineError::new(
            format!("No free port can be had: {error}"),
            "Give one as server.port",
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Line {
        Line {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            ..Line::default()
        }
    }

    fn wait(process: &mut Process) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = process.ended() {
                return status;
            }
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_that_dies_is_told_with_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let line = shell("echo loading; echo api_key=hunter2; echo 'no such model' >&2; exit 3");
        let mut process = Process::start(&line, folder.path()).unwrap();
        let status = wait(&mut process);
        let told = process.told(status).to_string();
        assert!(
            told.contains("exit code 3") && told.contains("no such model"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
        let log = process.log().to_owned();
        drop(process);
        assert!(log.exists(), "the error named it");
    }

    #[test]
    fn dropping_it_ends_it_and_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let line = shell("sleep 600 & echo $! > child; trap '' TERM; echo ready; sleep 600");
        let mut line = line;
        line.arguments[1] = format!("cd {}; {}", folder.path().display(), line.arguments[1]);
        let mut process = Process::start(&line, folder.path()).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while !std::fs::read_to_string(process.log())
            .unwrap()
            .contains("\nready")
        {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
        let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
        // The shell does not listen, its children do.
        process.stop();
        assert!(process.gone());
        assert!(!Path::new(&format!("/proc/{}", child.trim())).exists());
        let log = process.log().to_owned();
        drop(process);
        assert!(!log.exists(), "nobody was told of it");
    }

    #[test]
    fn the_log_goes_into_the_runs_folder_and_is_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start(&shell("read x; sleep 0.2; echo later"), folder.path()).unwrap();
        let to = folder.path().join("run/artifacts/server.log");
        process.move_log(&to).unwrap();
        wait(&mut process);
        assert!(std::fs::read_to_string(&to).unwrap().contains("later"));
        drop(process);
        assert!(to.exists());
    }

    #[test]
    fn a_program_that_is_not_there_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let line = Line {
            program: "no-such-server".into(),
            ..Line::default()
        };
        let error = Process::start(&line, folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no-such-server") && error.contains("server.command"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
