//! What `WANDB_*` variables and `~/.netrc` say.

use std::path::PathBuf;

use lem_record::Secret;

use super::{ConfigError, Mode, Resume, WandbConfig, netrc};

/// One variable that W&B's own client reads.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    /// The key of `integrations.wandb` that it sets.
    pub key: &'static str,
    pub secret: bool,
    pub help: &'static str,
    set: fn(&mut WandbConfig, &str) -> Result<(), String>,
}

macro_rules! variable {
    ($name:literal, $key:ident, $parse:expr, $help:literal) => {
        Variable {
            name: $name,
            key: stringify!($key),
            secret: false,
            help: $help,
            set: |config, text| {
                config.$key = $parse(text)?;
                Ok(())
            },
        }
    };
}

/// Every variable that is read, in the order in which they are applied.
#[rustfmt::skip] // one a line
pub const VARIABLES: &[Variable] = &[
    variable!("WANDB_MODE", mode, mode, "`online`, `offline` or `disabled`."),
    variable!("WANDB_BASE_URL", base_url, text, "Address of the server."),
    Variable { secret: true, ..variable!("WANDB_API_KEY", api_key, secret, "Key of the account.") },
    variable!("WANDB_ENTITY", entity, text, "User or team that owns the project."),
    variable!("WANDB_PROJECT", project, text, "Project, created where it does not exist."),
    variable!("WANDB_NAME", name, text, "Name of the run."),
    variable!("WANDB_NOTES", notes, text, "Notes on the run."),
    variable!("WANDB_TAGS", tags, list, "Tags, with commas between them."),
    variable!("WANDB_RUN_GROUP", group, text, "Group of the run."),
    variable!("WANDB_JOB_TYPE", job_type, text, "Type of the job."),
    variable!("WANDB_RUN_ID", run_id, text, "Id of the run."),
    variable!("WANDB_RESUME", resume, resume, "`allow`, `must` or `never`: what to do where the run exists."),
    variable!("WANDB_DIR", dir, path, "Parent of the folder of offline runs."),
    variable!("WANDB_HOST", host, text, "Name of this machine."),
];

impl WandbConfig {
    /// Lays the environment over this configuration, and the key of a `.netrc` under
    /// the environment's. `get` looks up a variable; `netrc` is the file's text. Returns
    /// which key was set by what; what cannot be read is an error, and leaves its key
    /// as it was.
    pub fn apply_environment(
        &mut self,
        get: impl Fn(&str) -> Option<String>,
        netrc: Option<&str>,
    ) -> Result<Vec<(&'static str, String)>, Vec<ConfigError>> {
        let mut set = Vec::new();
        let mut wrong = Vec::new();
        for variable in VARIABLES {
            let Some(value) = get(variable.name).filter(|value| !value.trim().is_empty()) else {
                continue;
            };
            match (variable.set)(self, value.trim()) {
                Ok(()) => set.push((variable.key, variable.name.to_owned())),
                Err(expected) => wrong.push(ConfigError::new(
                    variable.key,
                    format!("{}={value} is not {expected}", variable.name),
                    format!("Correct {} in the environment, or unset it", variable.name),
                )),
            }
        }
        if !set.iter().any(|(key, _)| *key == "api_key")
            && let Some(key) = netrc.and_then(|text| self.key_of(text))
        {
            self.api_key = Some(Secret::new(key));
            set.push(("api_key", "~/.netrc".to_owned()));
        }
        if wrong.is_empty() {
            Ok(set)
        } else {
            Err(wrong)
        }
    }

    /// The key that a `.netrc` has for our server.
    fn key_of(&self, netrc: &str) -> Option<String> {
        let base = self.base_url();
        let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next()?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        // as the official client writes it: without the port
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        [host, name]
            .iter()
            .find_map(|host| netrc::password(netrc, host))
    }
}

fn text(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

fn secret(text: &str) -> Result<Option<Secret>, String> {
    Ok(Some(Secret::new(text)))
}

fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(Some(text.into()))
}

fn list(text: &str) -> Result<Vec<String>, String> {
    let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    Ok(tags.map(str::to_owned).collect())
}

fn mode(text: &str) -> Result<Option<Mode>, String> {
    match text.to_ascii_lowercase().as_str() {
        "online" | "run" => Ok(Some(Mode::Online)),
        "offline" | "dryrun" => Ok(Some(Mode::Offline)),
        "disabled" => Ok(Some(Mode::Disabled)),
        _ => Err("online, offline or disabled".to_owned()),
    }
}

fn resume(text: &str) -> Result<Option<Resume>, String> {
    match text.to_ascii_lowercase().as_str() {
        // by its own run id a run of lem always finds itself
        "allow" | "auto" | "true" | "1" => Ok(Some(Resume::Allow)),
        "must" => Ok(Some(Resume::Must)),
        "never" | "false" | "0" => Ok(Some(Resume::Never)),
        _ => Err("allow, must or never".to_owned()),
    }
}
