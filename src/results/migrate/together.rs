//! Several processes of one cycle, put together by what their numbers are.

use super::facts::{Facts, Told, above_zero, flops, of_process};
use super::latencies::{Latencies, pool, summary};
use super::notes::*;
use super::old::Old;
use super::times;

/// The facts of an aggregated file: from its processes where it holds them, else from its sums.
pub(super) fn of_aggregate(old: &Old<'_>, backend: Option<&str>) -> Facts {
    let backend = old.at("backend").text().or(backend);
    let processes = old.at("process_results").items();
    let said = old.at("aggregation.num_processes").count();
    let mut facts = match processes.as_slice() {
        [] => of_sums(old, said),
        [only] => of_process(only, backend),
        several => together(
            several.iter().map(|one| of_process(one, backend)).collect(),
            old.notes(),
        ),
    };
    let held = processes.len();
    if let Some(said) = said.filter(|said| held > 0 && *said != held as u64) {
        let what = format!("the file says {said} processes and holds {held}");
        old.notes()
            .push("legacy.process_results", CYCLES_COUNT, what);
    }
    if held > 0 {
        compare(old, &facts, held);
    }
    if old.at("energy_tracking_failed").flag() == Some(true) && facts.energy[0].is_ok() {
        let what = "the aggregate says that energy tracking failed, and holds energies";
        old.notes()
            .push("total_energy_j", ENERGY_PARTLY_FAILED, what);
        facts.distrust.push(ENERGY_PARTLY_FAILED);
    }
    let names = ["mean", "median", "p99", "min", "max"];
    if matches!(facts.ttft, Latencies::Absent(_)) {
        facts.ttft = summary(&old.at("latency_stats"), "ttft", names, "latency.ttft_ms");
    }
    facts.start = facts
        .start
        .or(old.at("start_time").text().and_then(times::read));
    facts.end = facts
        .end
        .or(old.at("end_time").text().and_then(times::read));
    if facts.start.is_some() {
        let what = "start_time and end_time are those of the processes";
        old.notes()
            .push("legacy.start_time", TIME_WITH_LOADING, what);
    }
    facts
}

/// Where the aggregate's own figures differ from its processes'.
fn compare(old: &Old<'_>, facts: &Facts, held: usize) {
    let notes = old.notes();
    if let (Some(told), Ok(sum)) = (old.at("total_energy_j").amount(), &facts.energy[0])
        && (told - sum).abs() > 1e-6 * told.max(*sum)
    {
        let what =
            format!("the aggregate wrote {told} J, its processes sum to {sum} J, which holds here");
        notes.push("total_energy_j", ENERGY_SUM, what);
    }
    if let (Some(told), Ok(input), Ok(output)) =
        (old.at("total_tokens").count(), &facts.input, &facts.output)
        && told != input + output
    {
        let what = format!(
            "the aggregate wrote {told} tokens, its processes sum to {}",
            input + output
        );
        notes.push("tokens", TOKENS_DIFFER, what);
    }
    if let Some(told) = old.at("avg_energy_per_token_j").amount() {
        let what = format!("version 2 wrote {told} J a token, of input and output together");
        notes.push("energy_per_output_token_j", ENERGY_PER_TOKEN, what);
    }
    if held < 2 {
        return;
    }
    if let Some(told) = old.at("total_inference_time_sec").amount() {
        notes.push(
            "duration_s",
            TIME_SUMMED,
            format!("version 2 wrote {told} s for {held} processes"),
        );
    }
    if let Some(told) = old.at("avg_tokens_per_second").amount() {
        let what = format!("version 2 wrote {told} tokens a second for {held} processes");
        notes.push("throughput.total_tokens_per_sec", RATE_OF_PROCESSES, what);
    }
    if old.at("aggregation.temporal_overlap_verified").flag() != Some(true) {
        let what = format!("the file holds {held} processes");
        notes.push(
            "throughput.total_tokens_per_sec",
            PROCESSES_UNVERIFIED,
            what,
        );
    }
}

fn sum<T: Copy + std::iter::Sum>(all: &[Facts], get: impl Fn(&Facts) -> &Told<T>) -> Told<T> {
    all.iter().map(|one| get(one).clone()).sum()
}

/// What some have, of which one that has not says why the others count.
fn sum_of_some(all: &[Facts], get: impl Fn(&Facts) -> &Told) -> Told {
    let there: Vec<f64> = all
        .iter()
        .filter_map(|one| get(one).as_ref().ok().copied())
        .collect();
    match (there.is_empty(), all.first()) {
        (false, _) => Ok(there.iter().sum()),
        (true, Some(first)) => get(first).clone(),
        (true, None) => Err("there is no process".to_owned()),
    }
}

fn together(all: Vec<Facts>, notes: &Notes) -> Facts {
    let count = all.len();
    let longest = |seconds: Vec<f64>| seconds.into_iter().reduce(f64::max);
    let durations: Told<Vec<f64>> = all.iter().map(|one| one.duration_s.clone()).collect();
    let duration_s =
        durations.and_then(|all| longest(all).ok_or_else(|| "there is no process".to_owned()));
    let starts: Option<Vec<_>> = all.iter().map(|one| one.start).collect();
    let ends: Option<Vec<_>> = all.iter().map(|one| one.end).collect();
    let span = starts
        .as_ref()
        .zip(ends.as_ref())
        .and_then(|(starts, ends)| {
            let spans = starts
                .iter()
                .flat_map(|start| ends.iter().map(move |end| end.since(*start)));
            longest(spans.flatten().collect()).filter(|seconds| *seconds > 0.0)
        });
    let first = all.first().and_then(|one| one.start);
    let start = starts.and_then(|starts| {
        starts
            .into_iter()
            .reduce(|a, b| if a.since(b).is_some() { b } else { a })
    });
    let end = ends.and_then(|ends| {
        ends.into_iter()
            .reduce(|a, b| if a.since(b).is_some() { a } else { b })
    });

    let mut distrust: Vec<&'static Reason> = Vec::new();
    for reason in all.iter().flat_map(|one| &one.distrust) {
        if !distrust.iter().any(|there| there.code == reason.code) {
            distrust.push(reason);
        }
    }
    let measured: Vec<f64> = all
        .iter()
        .filter_map(|one| one.energy[0].as_ref().ok().copied())
        .collect();
    if let Some(largest) = measured.iter().copied().reduce(f64::max) {
        if measured.len() > 1 {
            let what = format!(
                "{} trackers are summed; the largest alone told {largest} J",
                measured.len()
            );
            notes.push("total_energy_j", ENERGY_OVER_COUNTED, what);
            distrust.push(ENERGY_OVER_COUNTED);
        }
        if measured.len() < count {
            let what = format!("{} of {count} processes have an energy", measured.len());
            notes.push("total_energy_j", ENERGY_PARTLY_FAILED, what);
            distrust.push(ENERGY_PARTLY_FAILED);
        }
    }
    let pooled = |get: fn(&Facts) -> &Latencies| pool(all.iter().map(get));
    Facts {
        duration_s,
        rate_s: span.ok_or_else(|| {
            "the processes' times are missing, so that the span of all of them is not known"
                .to_owned()
        }),
        input: sum(&all, |one| &one.input),
        output: sum(&all, |one| &one.output),
        requests: sum(&all, |one| &one.requests),
        energy: [0, 1, 2, 3].map(|i: usize| {
            sum_of_some(&all, move |one| one.energy.get(i).unwrap_or(&one.energy[0]))
        }),
        distrust,
        tracker_s: None,
        emissions_g: sum_of_some(&all, |one| &one.emissions_g),
        flops: sum(&all, |one| &one.flops),
        memory_bytes: sum(&all, |one| &one.memory_bytes),
        ttft: pooled(|one| &one.ttft),
        itl: pooled(|one| &one.itl),
        tpot: pooled(|one| &one.tpot),
        e2e: pooled(|one| &one.e2e),
        start: start.or(first),
        end,
    }
}

fn untold(what: &str) -> String {
    format!("the aggregate holds no process, and tells no {what}")
}

/// An aggregate without its processes: only what a sum can tell.
fn of_sums(old: &Old<'_>, processes: Option<u64>) -> Facts {
    let one = processes == Some(1);
    let apart =
        || "the aggregate holds no process, and tells input and output only together".to_owned();
    let gone = |what: &str| Err(untold(what));
    let latency = || Latencies::Absent("the aggregate holds no process".to_owned());
    let duration_s = match one {
        true => above_zero(&old.at("total_inference_time_sec"), "duration_s", TIME_ZERO),
        false => Err("the aggregate holds no process, and its time is a sum over them".to_owned()),
    };
    let failed = old.at("energy_tracking_failed").flag() == Some(true);
    let total = old.at("total_energy_j");
    let mut distrust = Vec::new();
    let energy = match total.amount() {
        Some(joules) if failed || joules == 0.0 => {
            let what = format!("version 2 wrote {joules} J, and that tracking failed: {failed}");
            old.notes()
                .push("total_energy_j", ENERGY_TRACKER_FAILED, what);
            Err(ENERGY_TRACKER_FAILED.why.to_owned())
        }
        Some(joules) => {
            let mut flag = |reason: &'static Reason, what: &str| {
                old.notes().push("total_energy_j", reason, what);
                distrust.push(reason);
            };
            flag(ENERGY_IDLE, "the energy of version 2 is gross");
            if !one {
                flag(
                    ENERGY_OVER_COUNTED,
                    "the file does not hold its processes, or say that there was one",
                );
            }
            Ok(joules)
        }
        None => gone("energy"),
    };
    Facts {
        rate_s: duration_s.clone(),
        duration_s,
        input: Err(apart()),
        output: Err(apart()),
        requests: Err(untold("requests")),
        energy: [
            energy,
            gone("components"),
            gone("components"),
            gone("components"),
        ],
        distrust,
        tracker_s: None,
        emissions_g: gone("emissions"),
        flops: flops(&old.at("total_flops")),
        memory_bytes: gone("memory"),
        ttft: latency(),
        itl: latency(),
        tpot: latency(),
        e2e: latency(),
        start: None,
        end: None,
    }
}
