//! What `MLFLOW_*` variables and `~/.mlflow/credentials` say.

use lem_record::Secret;

use super::{ConfigError, MlflowConfig};

/// One variable that MLflow's own clients read.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    /// The key of `integrations.mlflow` that it sets.
    pub key: &'static str,
    pub secret: bool,
    pub help: &'static str,
    set: fn(&mut MlflowConfig, &str) -> Result<(), String>,
}

macro_rules! variable {
    ($name:literal, $key:ident, $secret:literal, $parse:expr, $help:literal) => {
        Variable {
            name: $name,
            key: stringify!($key),
            secret: $secret,
            help: $help,
            set: |config, text| {
                config.$key = $parse(text)?;
                Ok(())
            },
        }
    };
}

/// Every variable that is read, in the order in which they are applied.
pub const VARIABLES: &[Variable] = &[
    variable!(
        "MLFLOW_TRACKING_URI",
        tracking_uri,
        false,
        text,
        "Address of the tracking server, or a folder."
    ),
    variable!(
        "MLFLOW_EXPERIMENT_NAME",
        experiment_name,
        false,
        text,
        "Experiment, created where it does not exist."
    ),
    variable!(
        "MLFLOW_EXPERIMENT_ID",
        experiment_id,
        false,
        text,
        "Id of an existing experiment; goes before the name."
    ),
    variable!(
        "MLFLOW_RUN_ID",
        run_id,
        false,
        text,
        "Id of an existing run to write into."
    ),
    variable!(
        "MLFLOW_WORKSPACE",
        workspace,
        false,
        text,
        "Workspace, on a server that has them."
    ),
    variable!(
        "MLFLOW_TRACKING_USERNAME",
        username,
        false,
        text,
        "User for Basic authentication; with the password it goes before the token."
    ),
    variable!(
        "MLFLOW_TRACKING_PASSWORD",
        password,
        true,
        secret,
        "Password for Basic authentication."
    ),
    variable!(
        "MLFLOW_TRACKING_TOKEN",
        token,
        true,
        secret,
        "Token for Bearer authentication."
    ),
    variable!(
        "MLFLOW_TRACKING_INSECURE_TLS",
        insecure_tls,
        false,
        flag,
        "Accept any certificate of the server."
    ),
    variable!(
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        server_cert_path,
        false,
        path,
        "PEM file with the authorities that sign the server's certificate."
    ),
    variable!(
        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
        client_cert_path,
        false,
        path,
        "PEM file with a client certificate and its private key."
    ),
    variable!(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        max_retries,
        false,
        number,
        "How often a request is tried again."
    ),
    variable!(
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
        backoff_factor,
        false,
        number,
        "Seconds before the first retry, doubled at each."
    ),
    variable!(
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER",
        backoff_jitter,
        false,
        number,
        "Up to so many seconds more, at random."
    ),
    variable!(
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        timeout_s,
        false,
        number,
        "Seconds for one request."
    ),
    variable!(
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING",
        log_system_metrics,
        false,
        flag,
        "Whether the system/ series are sent."
    ),
];

impl MlflowConfig {
    /// Lays the environment over this configuration, and the credentials file under
    /// the environment's credentials. `get` looks up a variable; `credentials` is the
    /// text of `~/.mlflow/credentials`. Returns which key was set by what; what
    /// cannot be read is an error, and leaves its key as it was.
    pub fn apply_environment(
        &mut self,
        get: impl Fn(&str) -> Option<String>,
        credentials: Option<&str>,
    ) -> Result<Vec<(&'static str, String)>, Vec<ConfigError>> {
        let mut set = Vec::new();
        let mut wrong = Vec::new();
        for (name, value) in credentials.map(from_ini).unwrap_or_default() {
            let Some(variable) = VARIABLES
                .iter()
                .find(|v| v.name.eq_ignore_ascii_case(&name))
            else {
                continue;
            };
            let is_credential = variable.secret || variable.key == "username";
            if is_credential && (variable.set)(self, &value).is_ok() {
                set.push((variable.key, "~/.mlflow/credentials".to_owned()));
            }
        }
        for variable in VARIABLES {
            let Some(value) = get(variable.name).filter(|value| !value.trim().is_empty()) else {
                continue;
            };
            match (variable.set)(self, value.trim()) {
                Ok(()) => {
                    set.retain(|(key, _)| *key != variable.key);
                    set.push((variable.key, variable.name.to_owned()));
                }
                Err(expected) => wrong.push(ConfigError {
                    key: variable.key,
                    problem: match variable.secret {
                        true => format!("{} is not {expected}", variable.name),
                        false => format!("{}={value} is not {expected}", variable.name),
                    },
                    remedy: format!("Correct {} in the environment, or unset it", variable.name),
                }),
            }
        }
        if wrong.is_empty() {
            Ok(set)
        } else {
            Err(wrong)
        }
    }
}

/// The section `mlflow` of an INI file. Its keys are the variables in lower case.
fn from_ini(text: &str) -> Vec<(String, String)> {
    let mut within = false;
    let mut pairs = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            within = section.trim() == "mlflow";
        } else if within
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once(['=', ':'])
        {
            pairs.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    pairs
}

fn text(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

fn secret(text: &str) -> Result<Option<Secret>, String> {
    Ok(Some(Secret::new(text)))
}

fn path(text: &str) -> Result<Option<std::path::PathBuf>, String> {
    Ok(Some(text.into()))
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "a number".to_owned())
}
