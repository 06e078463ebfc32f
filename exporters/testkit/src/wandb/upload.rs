//! The object store that uploads go to. It is told nothing of the key, and checks the
//! MD5 that was announced.

use super::{Upload, World, md5};
use crate::{Request, Response};

pub(super) const PREFIX: &str = "/storage/";

/// Where the bytes of something go. Its parts are encoded byte by byte.
pub(super) fn address(base: &str, parts: &[&str]) -> String {
    let encoded = parts.iter().map(|part| {
        let bytes = part.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        });
        bytes.collect::<String>()
    });
    format!("{base}{PREFIX}{}", encoded.collect::<Vec<_>>().join("/"))
}

/// What is to be sent with the bytes.
pub(super) fn headers(md5: &str) -> Vec<String> {
    vec![
        format!("Content-MD5:{md5}"),
        "Content-Type:application/octet-stream".to_owned(),
    ]
}

impl World {
    pub(super) fn upload(&mut self, request: &Request) -> Response {
        match self.store(request) {
            Ok(()) => Response::new(200),
            Err(why) => {
                self.complain(format!("an upload to {} was refused: {why}", request.path));
                Response::text(400, why)
            }
        }
    }

    fn store(&mut self, request: &Request) -> Result<(), String> {
        if request.method != "PUT" {
            return Err(format!("{} instead of PUT", request.method));
        }
        if request.header("authorization").is_some() {
            return Err("the key was sent to the object store".to_owned());
        }
        // names hold slashes, so the parts are told apart before they are decoded
        let parts = request.path.strip_prefix(PREFIX).unwrap_or_default();
        let parts: Vec<String> = parts
            .split('/')
            .map(|part| {
                let part = part.to_owned();
                Request {
                    path: part,
                    ..request.clone()
                }
                .decoded_path()
            })
            .collect();
        let [kind, of, name] = parts.as_slice() else {
            return Err("there is no such place".to_owned());
        };
        let announced = match kind.as_str() {
            "run" => {
                let run = self.runs.get_mut(of).ok_or("there is no such run")?;
                run.files.insert(name.clone(), request.body.clone());
                return Ok(());
            }
            kind => {
                let place = of
                    .strip_prefix("artifact-")
                    .and_then(|id| id.parse::<usize>().ok());
                let artifact = place.and_then(|place| self.artifacts.get_mut(place));
                let artifact = artifact.ok_or("there is no such artifact")?;
                match kind {
                    "manifest" => &mut artifact.manifest,
                    _ => artifact.files.get_mut(name).ok_or("it was not announced")?,
                }
            }
        };
        announced.take(request)
    }
}

impl Upload {
    fn take(&mut self, request: &Request) -> Result<(), String> {
        if request.header("content-md5") != Some(&self.md5) {
            return Err("Content-MD5 is not what the server asked for".to_owned());
        }
        if md5(&request.body) != self.md5 {
            return Err("the bytes have another MD5".to_owned());
        }
        self.bytes = Some(request.body.clone());
        Ok(())
    }
}
