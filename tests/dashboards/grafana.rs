//! The dashboards as Grafana takes them.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{boards, outside, root, succeeds};

#[test]
fn the_files_are_what_the_script_writes() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    succeeds(Command::new("python3").args(["-B", "dashboards/generate.py", "--check"]));
}

#[test]
fn grafanas_own_types_accept_them() {
    let variable = "LEM_TEST_GRAFANA_SCHEMA";
    let Some(folder) = outside(variable, "folder with @grafana/schema and typescript") else {
        return;
    };
    let files = boards::all();
    let files = files
        .iter()
        .map(|(name, _)| root().join("dashboards/grafana/dashboards").join(name));
    succeeds(
        Command::new("node")
            .arg(root().join("tests/dashboards/schema.mjs"))
            .arg(folder)
            .args(files),
    );
}

#[test]
fn they_work_where_they_are_imported_and_where_they_are_provisioned() {
    let mut uids = BTreeSet::new();
    for (name, board) in boards::all() {
        assert_eq!(board["schemaVersion"], 39, "{name}");
        let uid = board["uid"].as_str().unwrap();
        assert_eq!(format!("{uid}.json"), name, "a link to it goes by its uid");
        assert!(uids.insert(uid.to_owned()));
        assert!(
            board.get("__inputs").is_none() && board.get("id").is_none(),
            "{name}"
        );
        let first = &board["templating"]["list"][0];
        assert_eq!(
            (&first["type"], &first["name"]),
            (&Value::from("datasource"), &Value::from("DS_PROMETHEUS"))
        );
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{name}: an id twice"
            );
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"]["uid"], "${DS_PROMETHEUS}", "{name}");
            }
        }
        assert_eq!(overlaps(&board), Vec::<String>::new(), "{name}");
    }
}

fn overlaps(board: &Value) -> Vec<String> {
    let panels = board["panels"].as_array().unwrap();
    let area = |panel: &Value| {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y) = (side("x"), side("y"));
        (x..x + side("w"), y..y + side("h"))
    };
    let mut found = Vec::new();
    for (i, a) in panels.iter().enumerate() {
        let (ax, ay) = area(a);
        assert!(ax.end <= 24, "{}", a["title"]);
        for b in &panels[i + 1..] {
            let (bx, by) = area(b);
            if ax.start < bx.end && bx.start < ax.end && ay.start < by.end && by.start < ay.end {
                found.push(format!("{} and {}", a["title"], b["title"]));
            }
        }
    }
    found
}
