//! From rows, events and the rest to the records of a `.wandb` file.

use lem_record::Stamp;
use prost::Message as _;
use serde_json::{Map, Value};

use super::blocks::Blocks;
use super::messages::{
    Artifact, Entry, Exit, File, Files, Git, Header, History, Item, Kind, Manifest, Metric,
    MetricOptions, Output, PolicyItem, Record, Run, Stats, Step, Timestamp, Update, VersionInfo,
};
use crate::encode::{ArtifactSpec, Axis, Definition, Event, Line, Row, RunSettings};

/// Records on their way into blocks, numbered.
#[derive(Debug)]
pub(super) struct Records {
    pub blocks: Blocks,
    /// Of the next record.
    pub number: u64,
    payload: Vec<u8>,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Wandb = 1,
    Media = 2,
}

/// What `_wandb` holds in the configuration W&B's own program makes of the other
/// records, and of itself.
const MADE_BY_SYNC: &str = "_wandb";

impl Records {
    pub fn at(length: u64, number: u64) -> Self {
        Self {
            blocks: Blocks::at(length),
            number,
            payload: Vec::new(),
        }
    }

    fn push(&mut self, kind: Kind) {
        let record = Record {
            num: signed(self.number),
            kind: Some(kind),
        };
        self.payload.clear();
        // writing to memory that grows does not fail
        let _ = record.encode(&mut self.payload);
        self.blocks.push(&self.payload);
        self.number += 1;
    }

    /// Who wrote the file, and the run with its settings.
    pub fn run(&mut self, producer: &str, settings: &RunSettings, start: Stamp) {
        self.push(Kind::Header(Header {
            version_info: Some(VersionInfo {
                producer: producer.to_owned(),
                min_consumer: String::new(),
            }),
        }));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let git = Git {
            remote_url: text(&settings.repo),
            commit: text(&settings.commit),
        };
        self.push(Kind::Run(Box::new(Run {
            run_id: settings.id.clone(),
            entity: text(&settings.entity),
            project: settings.project.clone(),
            config: Some(config(&settings.config)),
            run_group: text(&settings.group),
            job_type: text(&settings.job_type),
            display_name: settings.name.clone(),
            notes: text(&settings.notes),
            tags: settings.tags.clone(),
            host: text(&settings.host),
            start_time: Some(timestamp(start.unix_ns)),
            git: (git != Git::default()).then_some(git),
        })));
        for axis in Axis::ALL {
            self.push(Kind::Metric(Metric {
                name: axis.key().to_owned(),
                step_metric: String::new(),
                options: Some(MetricOptions {
                    step_sync: false,
                    defined: true,
                }),
            }));
        }
    }

    /// Of the whole configuration, what may have changed.
    pub fn config(&mut self, whole: &Map<String, Value>) {
        let changing = whole.iter().filter(|(key, _)| *key == "lem");
        let changing = changing.map(|(key, value)| (key.clone(), value.clone()));
        self.push(Kind::Config(config(&changing.collect())));
    }

    pub fn definition(&mut self, definition: &Definition) {
        self.push(Kind::Metric(Metric {
            name: definition.key.to_string(),
            step_metric: definition.axis.key().to_owned(),
            options: Some(MetricOptions {
                step_sync: true,
                defined: true,
            }),
        }));
    }

    pub fn row(&mut self, row: &Row) {
        let own = row.own_cells();
        let own = own.iter().map(|(key, value)| item(key, value));
        let cells = row.cells.iter().map(|(key, value)| item(key, value));
        self.push(Kind::History(History {
            item: own.chain(cells).collect(),
            step: Some(Step {
                num: signed(row.step),
            }),
        }));
    }

    pub fn event(&mut self, event: &Event, start: Stamp) {
        // a Unix time as f64 is some 100 ns off; the time from the start is exact
        let ns = match event.runtime {
            0.0 => (event.timestamp * 1e9) as i64,
            runtime => start.unix_ns.saturating_add((runtime * 1e9).round() as i64),
        };
        let values = event.values.iter();
        self.push(Kind::Stats(Stats {
            timestamp: Some(timestamp(ns)),
            item: values
                .map(|(key, value)| item(key, &(*value).into()))
                .collect(),
        }));
    }

    /// With its time in the text: the time beside it will be that of the upload.
    pub fn line(&mut self, line: &Line) {
        self.push(Kind::Output(Output {
            kind: 1,
            timestamp: Some(timestamp(line.unix_ns)),
            line: format!("{}\n", line.stamped()),
        }));
    }

    /// Of the file at this path under `files/`.
    pub fn file(&mut self, path: &str, kind: FileKind) {
        self.push(Kind::Files(Files {
            files: vec![File {
                path: path.to_owned(),
                policy: 0,
                kind: kind as i32,
            }],
        }));
    }

    pub fn artifact(&mut self, spec: &ArtifactSpec, settings: &RunSettings, local_path: String) {
        self.push(Kind::Artifact(Box::new(Artifact {
            run_id: settings.id.clone(),
            project: settings.project.clone(),
            entity: settings.entity.clone().unwrap_or_default(),
            kind: spec.kind.to_owned(),
            name: spec.name.clone(),
            digest: spec.digest(),
            description: spec.description.clone(),
            metadata: spec.metadata.clone(),
            aliases: vec!["latest".to_owned()],
            manifest: Some(Manifest {
                version: 1,
                storage_policy: "wandb-storage-policy-v1".to_owned(),
                storage_policy_config: vec![PolicyItem {
                    key: "storageLayout".to_owned(),
                    value_json: "\"V2\"".to_owned(),
                }],
                contents: vec![Entry {
                    path: spec.entry.path.clone(),
                    digest: spec.entry.md5.clone(),
                    size: signed(spec.entry.size),
                    local_path,
                    // no second copy under the home folder of whoever uploads
                    skip_cache: true,
                }],
            }),
            finalize: true,
            client_id: spec.client_id.clone(),
            sequence_client_id: spec.sequence_client_id.clone(),
        })));
    }

    /// What of the summary is not as it was before.
    pub fn summary(&mut self, before: &Map<String, Value>, now: &Map<String, Value>) {
        let changed = now
            .iter()
            .filter(|(key, value)| before.get(*key) != Some(*value));
        let update: Vec<Item> = changed.map(|(key, value)| item(key, value)).collect();
        if !update.is_empty() {
            self.push(Kind::Summary(Update { update }));
        }
    }

    pub fn exit(&mut self, exit_code: i32, runtime_s: f64) {
        self.push(Kind::Exit(Exit {
            exit_code,
            runtime: runtime_s as i32,
        }));
    }
}

/// `{"key": {"value": …}}` without the wrapping.
fn config(whole: &Map<String, Value>) -> Update {
    let entries = whole.iter().filter(|(key, _)| *key != MADE_BY_SYNC);
    let entries = entries.filter_map(|(key, entry)| Some(item(key, entry.get("value")?)));
    Update {
        update: entries.collect(),
    }
}

fn item(key: &str, value: &Value) -> Item {
    Item {
        key: key.to_owned(),
        value_json: value.to_string(),
    }
}

fn timestamp(unix_ns: i64) -> Timestamp {
    const NANOS: i64 = 1_000_000_000;
    Timestamp {
        seconds: unix_ns.div_euclid(NANOS),
        nanos: unix_ns.rem_euclid(NANOS) as i32,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
