//! Helpers of this module's tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::SampleSink;

/// Keeps what a meter says.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub sources: Vec<usize>,
    pub t_ns: Vec<u64>,
    pub values: Vec<Vec<Option<f64>>>,
    pub missed: Vec<(usize, String)>,
}

impl SampleSink for Rows {
    fn row(&mut self, source: usize, t_ns: u64, values: &[Option<f64>]) {
        self.sources.push(source);
        self.t_ns.push(t_ns);
        self.values.push(values.to_vec());
    }

    fn missed(&mut self, source: usize, why: &str) {
        self.missed.push((source, why.to_owned()));
    }
}

/// Runs the test with the file unreadable. Root may read everything unless its thread
/// drops the capabilities for it.
pub(crate) fn deny(file: &Path, test: impl FnOnce() + Send) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
                let mut sets = capabilities(None).unwrap();
                sets.effective
                    .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
                set_capabilities(None, sets).unwrap();
                assert!(fs::File::open(file).is_err(), "the file is still readable");
                test();
            })
            .join()
            .unwrap();
    });
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
}
