//! What everything that is sent belongs to.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::Scope;
use super::attributes::text;

/// The user's attributes go before those of the machine; the instance is always the run.
/// Nothing here names a person or a path.
pub(super) fn resource(scope: &Scope<'_>) -> Resource {
    let environment = &scope.started.environment;
    let find = |pointers: [&str; 2]| {
        let found = pointers
            .iter()
            .find_map(|p| environment.pointer(p)?.as_str());
        found.map(str::to_owned)
    };
    // of the machine that measured, which need not be this one: `Linux 6.1.0`
    let kernel = find(["/host/kernel", "/os"]);
    let system = kernel.and_then(|k| Some(k.split_whitespace().next()?.to_lowercase()));
    let own = [
        ("service.name", Some(scope.config.service_name.clone())),
        ("service.version", Some(version(scope).to_owned())),
        ("host.name", find(["/host/hostname", "/hostname"])),
        ("host.arch", find(["/host/architecture", "/architecture"])),
        ("os.type", system),
        ("os.description", find(["/host/os", "/os"])),
    ];
    let mut all = scope.config.resource_attributes.clone();
    all.remove("");
    for (name, value) in own {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            all.entry(name.to_owned()).or_insert(value);
        }
    }
    all.insert("service.instance.id".to_owned(), scope.run_id.to_owned());
    Resource {
        attributes: all.into_iter().map(|(k, v)| text(k, v)).collect(),
        ..Resource::default()
    }
}

pub(super) fn instrumentation(scope: &Scope<'_>) -> InstrumentationScope {
    InstrumentationScope {
        name: "lem".to_owned(),
        version: version(scope).to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Of the lem that measured.
pub(super) fn version<'a>(scope: &Scope<'a>) -> &'a str {
    let producer = scope.started.producer.split_whitespace();
    producer.last().unwrap_or_default()
}
