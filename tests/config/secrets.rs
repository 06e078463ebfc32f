//! A planted secret appears nowhere.

use lem::config::{FlagValue, Format, Owner, show};

use super::support::case;

const SECRET: &str = "hunter2";

#[test]
fn a_secret_in_a_url_reaches_its_sink_and_nothing_else() {
    let resolved = case(
        "model_name: m\nserver: {url: 'http://u:hunter2@h/v1?api_key=hunter2'}\n\
         integrations:\n  otlp: {headers: {x: hunter2}, endpoint: 'http://u:hunter2@h'}\n  mlflow: {enabled: true}\n\
         tags: {link: 'https://u:hunter2@h/'}\n",
    )
    .variables(&[
        ("MLFLOW_TRACKING_URI", "https://ada:hunter2@mlflow.example"),
        ("MLFLOW_TRACKING_PASSWORD", SECRET),
    ])
    .set("integrations.remote-write.url=http://u:hunter2@h/")
    .good();

    let uri = resolved
        .config
        .integrations
        .mlflow
        .tracking_uri
        .as_ref()
        .unwrap();
    assert_eq!(uri.expose(), "https://ada:hunter2@mlflow.example");
    assert_eq!(uri.to_string(), "https://***@mlflow.example");
    let part = resolved.ecosystem.part(Owner::Mlflow);
    assert_eq!(
        part.lookup("MLFLOW_TRACKING_PASSWORD").as_deref(),
        Some(SECRET)
    );

    let mut shown = vec![
        format!("{:?}", resolved.ecosystem),
        format!("{:?}", resolved.origins),
        format!("{:?}", resolved.notes),
        format!("{:?}", resolved.config.integrations),
        format!("{:?}", resolved.config.server),
        resolved.tree.to_string(),
    ];
    for format in [Format::Yaml, Format::Json] {
        for origin in [false, true] {
            shown.push(show(&resolved, format, origin));
        }
    }
    for text in shown {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn errors_show_lines_without_their_secrets() {
    for text in [
        "model_name: m\nintegrations: {mlflow: {trakcing_uri: 'http://u:hunter2@h'}}\n",
        "model_name: m\nintegrations:\n  wandb:\n    api_key: hunter2\n",
        "model_name: m\npassword: hunter2\n",
        "model_name: m\nnum_cycles: http://u:hunter2@h\n",
        "model_name: m\nserver: {url: {password: hunter2}}\n",
        "token: hunter2\n  bad: [\n",
    ] {
        let case = case(text);
        let errors = case.load().unwrap_err();
        for shown in [
            errors.to_string(),
            format!("{errors:?}"),
            serde_json::to_string(&errors).unwrap(),
        ] {
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
}

#[test]
fn settings_and_variables_are_named_without_their_secrets() {
    let case = case("model_name: m\n")
        .set("integrations.wandb.api_key=hunter2")
        .set("num_cycles=http://u:hunter2@h")
        .flag(FlagValue::new(
            "server.url",
            "http://u:hunter2@h",
            "--url http://u:hunter2@h",
        ))
        .variables(&[("LEM_WANDB_API_KEY", SECRET), ("LEM_SEED", SECRET)]);
    let errors = case.load().unwrap_err();
    assert_eq!(errors.errors().count(), 2);
    assert!(!format!("{errors} {errors:?}").contains(SECRET), "{errors}");
    assert!(
        !format!("{:?}", case.sources).contains(SECRET),
        "{:?}",
        case.sources
    );
}
