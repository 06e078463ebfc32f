//! The collector's configuration: no collector runs here, so its own consistency is what is checked.

use std::collections::BTreeSet;

use saphyr::{LoadableYamlNode as _, Yaml};

use crate::read;

fn names(yaml: &Yaml<'_>) -> BTreeSet<String> {
    let keys = yaml.as_mapping().into_iter().flatten();
    keys.map(|(key, _)| key.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_the_pipelines_name_is_defined_and_what_is_defined_is_used() {
    let text = read("dashboards/otel/collector.yaml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let config = &documents[0];
    let pipelines = &config["service"]["pipelines"];
    assert_eq!(
        names(pipelines),
        ["logs", "metrics", "traces"].map(str::to_owned).into()
    );
    for kind in ["receivers", "processors", "exporters"] {
        let mut used = BTreeSet::new();
        for (name, pipeline) in pipelines.as_mapping().unwrap() {
            let listed = pipeline[kind].as_sequence().unwrap();
            assert!(!listed.is_empty(), "{name:?} has no {kind}");
            used.extend(listed.iter().map(|name| name.as_str().unwrap().to_owned()));
        }
        assert_eq!(used, names(&config[kind]), "{kind}");
    }
    // Prometheus names are the translation of OTel's with the suffixes of unit and kind.
    let remote = &config["exporters"]["prometheusremotewrite"];
    assert_eq!(remote["add_metric_suffixes"].as_bool(), Some(true));
}
