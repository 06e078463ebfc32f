//! `file_stream`: lines of a run's files, by their places.

use serde_json::{Value, json};

use super::World;
use crate::{Request, Response};

impl World {
    pub(super) fn stream(&mut self, key: &str, request: &Request) -> Response {
        let mut wrong = Vec::new();
        let Some(run) = self.runs.get_mut(key) else {
            return Response::text(404, "no such run");
        };
        let body = request.json();
        if !body.is_object() {
            return Response::text(400, "the body is no JSON object");
        }
        if body == json!({}) {
            run.heartbeats += 1;
        }
        for (file, chunk) in body["files"].as_object().into_iter().flatten() {
            let (Some(mut at), Some(content)) =
                (chunk["offset"].as_u64(), chunk["content"].as_array())
            else {
                return Response::text(400, "a chunk without offset or content");
            };
            let lines = run.lines.entry(file.clone()).or_default();
            if at > lines.keys().next_back().map_or(0, |last| last + 1) {
                wrong.push(format!("{file} has a gap before line {at}"));
            }
            for line in content {
                let Some(line) = line.as_str() else {
                    return Response::text(400, "a line that is no text");
                };
                if file != "output.log" && serde_json::from_str::<Value>(line).is_err() {
                    return Response::text(400, "a line that is no JSON");
                }
                lines.insert(at, line.to_owned());
                at += 1;
            }
        }
        for name in body["uploaded"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !run.files.contains_key(name) {
                wrong.push(format!("{name} was not uploaded, but is said to be"));
            }
            run.uploaded.insert(name.to_owned());
        }
        if body["complete"] == true {
            run.exit_code = body["exitcode"].as_i64();
        }
        self.complaints.extend(wrong);
        Response::json(200, &json!({"exitcode": null, "limits": {}}))
    }
}
