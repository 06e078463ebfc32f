//! What the server says of itself and of whoever asks.

use serde_json::{Value, json};

use super::{ENTITY, graphql};

pub(super) fn viewer() -> Value {
    json!({
        "id": "user-1",
        "entity": ENTITY,
        "username": ENTITY,
        "email": "",
        "admin": false,
        "flags": "{}",
        "teams": {"edges": [{"node": {"name": ENTITY}}, {"node": {"name": "team"}}]},
    })
}

pub(super) fn server() -> Value {
    json!({
        "cliVersionInfo": {"max_cli_version": "99.0.0"},
        "latestLocalVersionInfo": {
            "outOfDate": false,
            "latestVersionString": "0.77.1",
            "versionOnThisInstanceString": "0.77.1",
        },
        "features": [],
    })
}

pub(super) fn entity(name: &str) -> Value {
    let organization = json!({"coreWeaveOrganizationId": null});
    json!({"id": format!("entity-{name}"), "name": name, "organization": organization})
}

/// For clients that ask which fields the server has.
pub(super) fn kind(name: &str) -> Value {
    let fields: Vec<Value> = match name {
        "Query" | "Mutation" => graphql::root_names()
            .map(|name| json!({"name": name, "args": []}))
            .collect(),
        _ => return Value::Null,
    };
    json!({"name": name, "fields": fields, "inputFields": []})
}
