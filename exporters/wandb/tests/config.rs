#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use lem_record::{Exporter as _, Secret};
use lem_wandb::{Mode, Resume, VARIABLES, WandbConfig, WandbExporter};
use serde_json::json;

fn keyed() -> WandbConfig {
    WandbConfig {
        api_key: Some(Secret::new("hunter2-k")),
        ..WandbConfig::default()
    }
}

fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let map: HashMap<String, String> = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    move |name| map.get(name).cloned()
}

#[test]
fn the_mode_is_decided_by_key_and_terminal() {
    let mode = |mode, key: bool, terminal| {
        let api_key = key.then(|| Secret::new("k"));
        WandbConfig {
            mode,
            api_key,
            terminal,
            ..WandbConfig::default()
        }
        .mode()
    };
    assert_eq!(mode(None, true, false), Mode::Online);
    assert_eq!(mode(None, false, false), Mode::Offline);
    assert_eq!(
        mode(None, false, true),
        Mode::Online,
        "and then the key is asked for"
    );
    assert_eq!(mode(Some(Mode::Offline), true, true), Mode::Offline);
}

#[test]
fn everything_wrong_is_told_at_once_with_its_remedy() {
    let config = WandbConfig {
        mode: Some(Mode::Online),
        base_url: Some("ftp://u:hunter2@h".into()),
        entity: Some("a b".into()),
        project: Some("a/b".into()),
        run_id: Some("r".repeat(129)),
        name: Some(String::new()),
        group: Some("g".repeat(129)),
        tags: vec!["ok".into(), "t".repeat(65)],
        timeout_s: f64::NAN,
        ..WandbConfig::default()
    };
    let errors: Vec<String> = config
        .check()
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(!format!("{errors:?}").contains("hunter2"));
    insta::assert_yaml_snapshot!(errors);
}

#[test]
fn an_address_that_is_no_server_is_refused() {
    for base in [
        "",
        "localhost:8080",
        "https://",
        "https:///x",
        "https://wandb.ai/",
    ] {
        let base_url = Some(base.to_owned());
        let errors = WandbConfig {
            base_url,
            ..keyed()
        }
        .check()
        .unwrap_err();
        assert_eq!(errors[0].key, "base_url", "{base}");
    }
    for base in ["http://localhost:8080/", "https://wandb.corp/prefix"] {
        let base_url = Some(base.to_owned());
        WandbConfig {
            base_url,
            ..keyed()
        }
        .check()
        .unwrap();
    }
    let broken = WandbConfig {
        api_key: Some(Secret::new("hunter2\n")),
        ..keyed()
    };
    let error = broken.check().unwrap_err()[0].to_string();
    assert!(
        error.contains("api_key") && !error.contains("hunter2"),
        "{error}"
    );
    let off = WandbConfig {
        mode: Some(Mode::Disabled),
        ..keyed()
    };
    assert!(
        WandbExporter::new(off).unwrap_err()[0]
            .remedy
            .contains("WANDB_MODE")
    );
}

#[test]
fn no_secret_is_shown_or_stored() {
    let config = WandbConfig {
        base_url: Some("https://ann:hunter2-u@wandb.corp/".into()),
        entity: Some("team".into()),
        run_id: Some("r1".into()),
        ..keyed()
    };
    let exporter = WandbExporter::new(config.clone()).unwrap();
    let shown = format!(
        "{config:?} {exporter:?} {} {} {}",
        exporter.destination(),
        exporter.state(),
        serde_json::to_string(&config).unwrap(),
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    let destination = "https://wandb.corp, project team/lem, run r1";
    assert_eq!(exporter.destination(), destination);
}

#[test]
fn every_variable_sets_its_key() {
    for variable in VARIABLES {
        let value = match variable.name {
            "WANDB_MODE" => "offline",
            "WANDB_RESUME" => "must",
            "WANDB_TAGS" => "a, b,",
            _ => "x",
        };
        let mut config = WandbConfig::default();
        let set = config
            .apply_environment(environment(&[(variable.name, value)]), None)
            .unwrap();
        assert_eq!(set, [(variable.key, variable.name.to_owned())]);
        let now = serde_json::to_value(&config).unwrap();
        let before = serde_json::to_value(WandbConfig::default()).unwrap();
        assert_ne!(now[variable.key], before[variable.key]);
        assert_eq!(variable.secret, now[variable.key] == "***");
    }
    let mut config = WandbConfig::default();
    let get = environment(&[
        ("WANDB_TAGS", "a, b,,"),
        ("WANDB_RESUME", "auto"),
        ("WANDB_NAME", " "),
    ]);
    config.apply_environment(get, None).unwrap();
    assert_eq!(config.tags, ["a", "b"]);
    assert_eq!(config.resume, Some(Resume::Allow));
    assert_eq!(config.name, None);
}

#[test]
fn the_environments_key_goes_before_that_of_netrc() {
    let netrc = "machine wandb.corp login user password from-netrc\nmachine api.wandb.ai login user password cloud\n";
    let key = |pairs: &[(&str, &str)]| {
        let mut config = WandbConfig::default();
        config
            .apply_environment(environment(pairs), Some(netrc))
            .unwrap();
        config.api_key.map(|key| key.expose().to_owned())
    };
    assert_eq!(key(&[]).as_deref(), Some("cloud"));
    let corp = ("WANDB_BASE_URL", "http://ann@wandb.corp:8080/x");
    assert_eq!(key(&[corp]).as_deref(), Some("from-netrc"));
    assert_eq!(key(&[corp, ("WANDB_API_KEY", "k")]).as_deref(), Some("k"));
    assert_eq!(key(&[("WANDB_BASE_URL", "http://other")]), None);
}

#[test]
fn a_variable_that_cannot_be_read_is_told_with_its_name() {
    let get = environment(&[("WANDB_MODE", "sometimes"), ("WANDB_RESUME", "perhaps")]);
    let errors = WandbConfig::default()
        .apply_environment(get, None)
        .unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_yaml_snapshot!(text);
}

#[test]
fn the_section_reads_as_documented() {
    let section = json!({"enabled": true, "mode": "offline", "tags": ["a"], "resume": "never"});
    let config: WandbConfig = serde_json::from_value(section).unwrap();
    assert!(config.enabled && config.heartbeat && config.mode() == Mode::Offline);
    let wrong = serde_json::from_value::<WandbConfig>(json!({"entty": "x"})).unwrap_err();
    assert!(wrong.to_string().contains("entity"), "{wrong}");
}
