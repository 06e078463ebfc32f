use std::fs;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

use super::super::store::{self, StoreError};
use super::{golden_data, result_of};

#[test]
fn a_result_is_written_whole_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let result = result_of(&golden_data());
    let path = store::write(folder.path(), &result).unwrap();
    assert!(path.ends_with("result.json"));
    assert_eq!(store::read(folder.path()).unwrap(), result);
    // Again over the old one, and nothing is left beside it.
    store::write(folder.path(), &result).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = store::read(folder.path()).unwrap_err().to_string();
    assert!(missing.contains("lem results rebuild"), "{missing}");
    fs::write(
        folder.path().join("result.json"),
        b"{\"schema_version\": \"2.0",
    )
    .unwrap();
    let torn = store::read(folder.path()).unwrap_err();
    assert!(matches!(torn, StoreError::Format { .. }), "{torn}");
    let absent = folder.path().join("nowhere");
    let refused = store::write(&absent, &result_of(&golden_data()))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("cannot be written"), "{refused}");
    assert!(matches!(
        store::load(folder.path()),
        Err(StoreError::Log(_))
    ));
}

#[test]
fn a_result_is_made_anew_from_the_log_whatever_a_crash_left() {
    let folder = tempfile::tempdir().unwrap();
    let log = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/run.jsonl"
    ));
    let path = folder.path().join("records.jsonl");
    fs::write(&path, log).unwrap();
    let whole = store::rebuild(folder.path(), Vec::new()).unwrap();
    assert_eq!(whole.num_cycles, 3);
    assert_eq!(
        whole.status,
        lem_record::RunStatus::Killed,
        "nothing says how it ended"
    );
    assert_eq!(whole.numbers, result_of(&golden_data()).numbers);
    // Cut at any place: every finished cycle still counts.
    let ends: Vec<usize> = log
        .match_indices("\"cycle_finished\"")
        .map(|(at, _)| at + log[at..].find('\n').unwrap() + 1)
        .collect();
    for cut in (0..log.len()).step_by(1_777) {
        fs::write(&path, &log[..cut]).unwrap();
        let finished = ends.iter().filter(|end| **end <= cut).count();
        match store::rebuild(folder.path(), Vec::new()) {
            Ok(result) => {
                assert_eq!(result.num_cycles as usize, finished);
                assert_eq!(result.numbers.total_energy_j.value.is_some(), finished > 0);
            }
            Err(e) => panic!("cut at {cut}: {e}"),
        }
    }
}

#[test]
fn the_series_file_holds_every_sample() {
    let data = golden_data();
    let folder = tempfile::tempdir().unwrap();
    let path = store::write_series(folder.path(), &data).unwrap();
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let expected: usize = data
        .samples
        .values()
        .map(|s| s.t_ns.len() * s.columns.len())
        .sum();
    let (mut rows, mut energy, mut last) = (0, 0.0, None::<(i64, f64)>);
    let mut phases = std::collections::BTreeSet::new();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        rows += 1;
        if let Ok(phase) = row.get_string(8) {
            phases.insert(phase.clone());
        }
        let cycle = row.get_int(7);
        if row.get_string(0).unwrap() == "gpu0"
            && row.get_string(1).unwrap() == "sample.power"
            && cycle.is_ok_and(|c| c == 1)
        {
            let (t, watts) = (row.get_long(4).unwrap(), row.get_double(6).unwrap());
            if let Some((t0, w0)) = last {
                energy += 0.5 * (watts + w0) * (t - t0) as f64 / 1e9;
            }
            last = Some((t, watts));
        }
    }
    assert_eq!(rows, expected);
    let names: Vec<&str> = phases.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "baseline.after",
            "baseline.bare",
            "baseline.loaded",
            "decode",
            "other",
            "prefill"
        ]
    );
    // Near the cycle's energy: the edges and the lag are a few per cent here.
    let told = result_of(&data).cycles[1]
        .numbers
        .total_energy_j
        .value
        .unwrap();
    assert!((energy - told).abs() < 0.05 * told, "{energy} {told}");
}
