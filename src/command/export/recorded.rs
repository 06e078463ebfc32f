//! What a log recorded of a sink's settings, on a machine where it may not hold.

use std::path::Path;

use lem_record::RunStarted;
use serde_json::Value;

/// The recorded settings without the paths of another machine that do not exist on this
/// one, and what to say of those. To make such a folder here would deliver to nobody.
pub fn usable(started: &RunStarted, sink: &str) -> (Option<Value>, Option<String>) {
    let here = rustix::system::uname();
    usable_on(started, sink, &here.nodename().to_string_lossy())
}

fn usable_on(started: &RunStarted, sink: &str, here: &str) -> (Option<Value>, Option<String>) {
    let Some(recorded) = started.sinks.get(sink) else {
        return (None, None);
    };
    let host = started.environment.pointer("/host/hostname");
    let Some(host) = host.and_then(Value::as_str).filter(|host| *host != here) else {
        return (Some(recorded.clone()), None);
    };
    let mut kept = recorded.clone();
    let mut gone = Vec::new();
    if let Some(settings) = kept.as_object_mut() {
        settings.retain(|_, value| {
            let Some(path) = value.as_str().filter(|text| is_elsewhere(text)) else {
                return true;
            };
            gone.push(path.to_owned());
            false
        });
    }
    let note = (!gone.is_empty()).then(|| {
        format!(
            "the run was measured on {host} and was to go to {} there, which this machine does not have",
            gone.join(", ")
        )
    });
    (Some(kept), note)
}

/// An absolute path of which not even the parent is here.
fn is_elsewhere(text: &str) -> bool {
    let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
    path.is_absolute() && !path.parent().is_some_and(Path::exists)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use lem_testkit::golden;
    use serde_json::json;

    use super::usable_on;

    #[test]
    fn paths_of_another_machine_are_left_out_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("certificate.pem").display().to_string();
        let mut started = golden::started();
        started.environment = json!({"host": {"hostname": "bench7"}});
        let settings = json!({
            "tracking_uri": "file:///home/ada/project/mlruns", "experiment_name": "e",
            "certificate": here, "timeout_s": 5,
        });
        started.sinks.insert("mlflow".into(), settings.clone());
        let (kept, note) = usable_on(&started, "mlflow", "laptop");
        assert_eq!(
            kept.unwrap(),
            json!({"experiment_name": "e", "certificate": here, "timeout_s": 5})
        );
        let note = note.unwrap();
        assert!(
            note.contains("bench7") && note.contains("/home/ada"),
            "{note}"
        );
        // At home nothing is doubted: the folder will be made again.
        assert_eq!(
            usable_on(&started, "mlflow", "bench7"),
            (Some(settings), None)
        );
        assert_eq!(usable_on(&started, "otlp", "laptop"), (None, None));
    }
}
