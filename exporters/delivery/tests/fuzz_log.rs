//! Damaged logs are read as far as they go: for LEM_FUZZ_SECONDS (2) seconds, with a
//! seed from LEM_FUZZ_SEED or the clock.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use lem_delivery::{Log, LogError, LogReader, RECORDS_FILE, Spool, SpoolError};
use lem_record::{Record, Recorder, Warning};
use lem_testkit::golden;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn mutate(log: &mut Vec<u8>, rng: &mut StdRng) {
    if log.is_empty() {
        return;
    }
    let at = rng.random_range(0..log.len());
    let to = (at + rng.random_range(0..2000)).min(log.len());
    match rng.random_range(0..10) {
        0 => log[at] ^= 1 << rng.random_range(0..8),
        1 => log.truncate(at),
        2 => drop(log.drain(at..to)),
        3 => log[at..to].fill(0),
        4 => {
            // a stretch comes twice, or somewhere else
            let piece = log[at..to].to_vec();
            let there = rng.random_range(0..=log.len());
            log.splice(there..there, piece);
        }
        5 => log.insert(at, b'\n'),
        6 => log[at] = rng.random(),
        7 => {
            let words: [&[u8]; 7] = [
                b"18446744073709551615",
                b"-1",
                b"1e999",
                b"\xff\xfe",
                b"null",
                b"[[[[[[[[[[[[[[[[",
                b"{\"n\":",
            ];
            let word = words[rng.random_range(0..words.len())];
            log.splice(at..at, word.iter().copied());
        }
        8 => {
            // a digit changes: numbers and times that lie
            let digits: Vec<usize> = (at..to).filter(|i| log[*i].is_ascii_digit()).collect();
            if let Some(digit) = digits.first() {
                log[*digit] = b'0' + rng.random_range(0..10u8);
            }
        }
        _ => {
            let lines: Vec<&[u8]> = log.split_inclusive(|b| *b == b'\n').collect();
            let (a, b) = (
                rng.random_range(0..lines.len()),
                rng.random_range(0..lines.len()),
            );
            let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
            lines.swap(a, b);
            *log = lines.concat();
        }
    }
}

#[test]
fn damaged_logs_are_read_as_far_as_they_go() {
    let seconds = from_env("LEM_FUZZ_SECONDS").unwrap_or(2);
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = from_env("LEM_FUZZ_SEED").unwrap_or(clock);
    println!("LEM_FUZZ_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let whole = golden::run(folder).log();
    let lines = whole.iter().filter(|b| **b == b'\n').count() as u64;

    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, mut reopened) = (0u64, 0u64);
    while Instant::now() < end {
        rounds += 1;
        let mut log = whole.clone();
        let strikes = rng.random_range(1..6);
        for _ in 0..strikes {
            mutate(&mut log, &mut rng);
        }

        let mut reader = LogReader::new(&log[..]);
        let mut numbers = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            assert!(entry.start < entry.end && entry.end <= log.len() as u64);
            numbers.push((entry.envelope.n, entry.start));
        }
        assert!(
            numbers.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "{numbers:?}"
        );
        let facts = reader.facts().clone();
        assert_eq!(facts.records, numbers.len() as u64);
        // one stroke costs the lines that it touches, not those after them
        if strikes == 1 && log.len() + 2000 > whole.len() && facts.torn.is_none() {
            let lost = lines.saturating_sub(facts.records);
            let touched = facts.skipped + facts.missing + facts.duplicates + facts.foreign + 20;
            assert!(lost <= touched, "{lost} lost, {facts:?}");
        }
        if rounds % 8 != 0 {
            continue; // what follows goes through the disk
        }
        std::fs::write(folder.join(RECORDS_FILE), &log).unwrap();
        // reading on from any record gives the same as reading through
        if !numbers.is_empty() {
            let pick = rng.random_range(0..numbers.len());
            let (n, start) = numbers[pick];
            let run = reader.run().unwrap().to_owned();
            let rest = LogReader::open_at(folder, &run, n, start).unwrap();
            let rest: Vec<u64> = rest.map(|entry| entry.unwrap().envelope.n).collect();
            assert_eq!(rest.first(), Some(&n));
        }
        match Log::read(folder) {
            Ok(log) => assert!(log.next >= 1),
            Err(LogError::NoStart { .. } | LogError::Format { .. }) => continue,
            Err(error) => panic!("{error}"),
        }
        match Spool::reopen(folder) {
            Ok((spool, log)) => {
                reopened += 1;
                let message = format!("round {rounds}");
                spool.record(Record::Warning(Warning {
                    code: "fuzz".into(),
                    message: message.clone(),
                    remedy: String::new(),
                }));
                spool.commit().unwrap();
                let last = LogReader::open(folder)
                    .unwrap()
                    .last()
                    .unwrap()
                    .unwrap()
                    .envelope;
                assert_eq!(last.n, log.next);
                assert!(matches!(last.record, Record::Warning(w) if w.message == message));
            }
            Err(SpoolError::Log(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    println!("{rounds} rounds, {reopened} reopened");
    assert!(rounds > 0);
}
