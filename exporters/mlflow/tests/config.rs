#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use lem_mlflow::{MlflowConfig, MlflowExporter, Target, VARIABLES};
use lem_record::{Exporter as _, Secret};
use serde_json::json;

fn with_uri(uri: &str) -> MlflowConfig {
    MlflowConfig {
        tracking_uri: Some(uri.into()),
        ..MlflowConfig::default()
    }
}

#[test]
fn a_tracking_uri_is_a_server_or_a_folder() {
    let files = |uri: &str, path: &str| {
        assert_eq!(
            with_uri(uri).target(),
            Ok(Target::Files(path.into())),
            "{uri}"
        );
    };
    files("mlruns", "mlruns");
    files("/data/ml runs", "/data/ml runs");
    files("file:///data/ml%20runs", "/data/ml runs");
    files("file:relative", "relative");
    files("file://localhost/x", "/x");
    files("a:b", "a:b");
    assert_eq!(
        MlflowConfig::default().target(),
        Ok(Target::Files("mlruns".into()))
    );
    let server = with_uri("https://ml.example/prefix").target();
    assert_eq!(
        server,
        Ok(Target::Server("https://ml.example/prefix".into()))
    );
}

#[test]
fn what_cannot_be_is_refused_with_a_remedy() {
    let refused = |uri: &str| {
        let errors = with_uri(uri).target().unwrap_err();
        assert_eq!(errors.len(), 1);
        errors[0].to_string()
    };
    insta::assert_yaml_snapshot!([
        refused(""),
        refused("sqlite:///mlflow.db"),
        refused("postgresql+psycopg2://u:hunter2@h/db"),
        refused("databricks"),
        refused("databricks://profile"),
        refused("file://elsewhere/x"),
        refused("ftp://x"),
    ]);
    assert!(!refused("postgresql+psycopg2://u:hunter2@h/db").contains("hunter2"));
}

#[test]
fn everything_wrong_is_told_at_once() {
    let config = MlflowConfig {
        experiment_name: Some(String::new()),
        run_id: Some("../x".into()),
        timeout_s: f64::NAN,
        backoff_factor: -1.0,
        password: Some(Secret::new("p")),
        ..with_uri("sqlite:///x")
    };
    let keys: Vec<_> = config
        .target()
        .unwrap_err()
        .into_iter()
        .map(|e| e.key)
        .collect();
    let expected = [
        "tracking_uri",
        "experiment_name",
        "run_id",
        "timeout_s",
        "backoff_factor",
        "password",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn no_secret_is_shown_or_stored() {
    let config = MlflowConfig {
        password: Some(Secret::new("hunter2-p")),
        token: Some(Secret::new("hunter2-t")),
        username: Some("ann".into()),
        ..with_uri("https://ann:hunter2-u@ml.example/x")
    };
    let exporter = MlflowExporter::new(config.clone()).unwrap();
    let shown = format!(
        "{config:?} {config:#?} {exporter:?} {:?} {} {}",
        config.target(),
        exporter.destination(),
        serde_json::to_string(&config).unwrap(),
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("https://ml.example/x"));
    assert_eq!(
        exporter.destination(),
        "https://ml.example/x, experiment lem"
    );
}

#[test]
fn the_section_reads_as_documented() {
    let section = json!({"enabled": true, "tracking_uri": "http://h:5000", "experiment_name": "e"});
    let config: MlflowConfig = serde_json::from_value(section).unwrap();
    assert!(config.enabled && config.upload_artifacts);
    let wrong = serde_json::from_value::<MlflowConfig>(json!({"trackin_uri": "x"})).unwrap_err();
    assert!(wrong.to_string().contains("tracking_uri"), "{wrong}");
}

fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let map: HashMap<String, String> = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    move |name| map.get(name).cloned()
}

#[test]
fn every_variable_sets_its_key() {
    let value = |variable: &str| match variable {
        name if name.contains("INSECURE") || name.contains("ENABLE") => "true",
        name if name.contains("HTTP_REQUEST") => "3",
        _ => "x",
    };
    for variable in VARIABLES {
        let mut config = MlflowConfig {
            log_system_metrics: false,
            ..MlflowConfig::default()
        };
        let get = environment(&[(variable.name, value(variable.name))]);
        let set = config.apply_environment(get, None).unwrap();
        assert_eq!(set, [(variable.key, variable.name.to_owned())]);
        let (now, before) = (
            serde_json::to_value(&config),
            serde_json::to_value(MlflowConfig::default()),
        );
        let (now, before) = (now.unwrap(), before.unwrap());
        assert!(now[variable.key] != before[variable.key] || variable.key == "log_system_metrics");
        assert_eq!(variable.secret, now[variable.key] == "***");
    }
}

#[test]
fn the_environment_goes_before_the_credentials_file() {
    let file = "[other]\nmlflow_tracking_password = no\n\n[mlflow]\n# a note\nmlflow_tracking_username = ann\nmlflow_tracking_password = from-file\nmlflow_tracking_uri = http://not-a-credential\n";
    let mut config = MlflowConfig::default();
    let get = environment(&[("MLFLOW_TRACKING_PASSWORD", "from-environment")]);
    let set = config.apply_environment(get, Some(file)).unwrap();
    assert_eq!(config.username.as_deref(), Some("ann"));
    assert_eq!(
        config.password.as_ref().map(Secret::expose),
        Some("from-environment")
    );
    assert_eq!(config.tracking_uri, None);
    assert_eq!(
        set,
        [
            ("username", "~/.mlflow/credentials".to_owned()),
            ("password", "MLFLOW_TRACKING_PASSWORD".to_owned()),
        ]
    );
    // hostile text is no more than nothing
    for text in ["", "[mlflow", "=\n[mlflow]\n=\n:", "\0"] {
        assert_eq!(
            MlflowConfig::default().apply_environment(|_| None, Some(text)),
            Ok(vec![])
        );
    }
}

#[test]
fn a_variable_that_cannot_be_read_is_told_with_its_name() {
    let mut config = MlflowConfig::default();
    let get = environment(&[
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "perhaps"),
    ]);
    let errors = config.apply_environment(get, None).unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_yaml_snapshot!(text);
}
