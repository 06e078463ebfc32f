//! A W&B server that is good enough for the official SDK: `wandb.init`, `log`, `Table`,
//! `Artifact`, `finish` and `wandb sync` run against it, and `exporters/wandb/tests/sdk.rs`
//! holds it to that.
//!
//! It keeps what it is told. What a real server would refuse it refuses: a query that
//! is not GraphQL or asks for a field that does not exist, bytes with another MD5 than
//! was announced, an artifact whose manifest does not give its digest. What a real
//! server would let pass though it is a mistake is kept as a complaint.

mod artifacts;
mod facts;
mod graphql;
mod query;
mod runs;
mod server_info;
mod stream;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::{FakeServer, Request, Response};

pub use artifacts::{Artifact, Upload};
pub use runs::Run;

/// Everything that the server knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// By `entity/project/name`.
    pub runs: BTreeMap<String, Run>,
    pub artifacts: Vec<Artifact>,
    /// Mistakes of clients, and requests that it does not understand. Empty after a good test.
    pub complaints: Vec<String>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct FakeWandb {
    pub server: FakeServer,
    world: Arc<Mutex<World>>,
}

/// The entity of whoever has the key.
pub const ENTITY: &str = "ann";

impl FakeWandb {
    /// Takes this key and no other.
    pub fn start(key: &str) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::clone(&world);
        let allowed = format!("Basic {}", STANDARD.encode(format!("api:{key}")));
        let server = FakeServer::start(move |request| {
            let mut world = shared.lock().unwrap_or_else(PoisonError::into_inner);
            world.answer(&allowed, request)
        });
        Self { server, world }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run of this id.
    ///
    /// # Panics
    /// Where it is not there, or there are two of them.
    pub fn run(&self, name: &str) -> Run {
        let world = self.world();
        let mut found = world.runs.values().filter(|run| run.name == name);
        let run = found.next().expect("the run is there").clone();
        assert!(found.next().is_none(), "two runs have the id {name}");
        run
    }

    /// A line for each thing that it holds, sorted.
    pub fn facts(&self) -> Vec<String> {
        self.world().facts()
    }

    pub fn complaints(&self) -> Vec<String> {
        self.world().complaints.clone()
    }
}

impl World {
    fn answer(&mut self, allowed: &str, request: &Request) -> Response {
        let path = request.decoded_path();
        if path.starts_with(upload::PREFIX) {
            return self.upload(request);
        }
        // the SDK's own telemetry, which goes there without a key first
        if path.starts_with("/sdk/otel/") {
            return Response::new(200);
        }
        if request.header("authorization") != Some(allowed) {
            return Response::text(401, "user is not logged in");
        }
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["", "graphql"] => self.graphql(request),
            ["", "files", entity, project, run, "file_stream"] => {
                self.stream(&format!("{entity}/{project}/{run}"), request)
            }
            _ => {
                self.complain(format!("there is no page {path}"));
                Response::text(404, "no such page")
            }
        }
    }

    fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }
}

/// As W&B writes it.
fn md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}
