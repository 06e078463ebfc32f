//! What is to be told of a migration: the reasons in one table, collected once each.

use std::cell::RefCell;

use super::super::{MigrationNote, NoteKind, WarningText};

/// A reason, and what a reader of the number can do.
pub(super) struct Reason {
    pub code: &'static str,
    pub kind: NoteKind,
    pub why: &'static str,
    /// Where it is also a warning of the result.
    pub remedy: Option<&'static str>,
}

macro_rules! reasons {
    ($($name:ident: $kind:ident, $code:literal, $why:literal, $remedy:expr;)*) => {
        $(pub(super) const $name: &Reason = &Reason {
            code: $code, kind: NoteKind::$kind, why: $why, remedy: $remedy,
        };)*
        /// All of them, for the documentation.
        pub(super) const REASONS: &[&Reason] = &[$($name),*];
    };
}

reasons! {
    FLOPS_FORMULA: Flagged, "flops.formula",
        "version 2 always took 2 × parameters × (input + output tokens), whatever `flops_method` and `flops_confidence` say: attention and quantisation are not in it",
        Some("Compare it only with numbers of version 2");
    RATE_AMBIGUOUS: Recomputed, "throughput.counted-anew",
        "early files counted output tokens and later ones input plus output; here it counts output tokens",
        None;
    RATE_OF_PROCESSES: Recomputed, "throughput.mean-of-rates",
        "version 2's is a mean over processes, not the system's rate; here it is all output tokens over the span from the first process's start to the last one's end, which includes loading the model: the rate was at least this",
        Some("Take it as a lower bound");
    TIME_SUMMED: Recomputed, "time.summed",
        "version 2 summed the times of processes that ran beside one another; here it is the longest",
        None;
    TIME_WITH_LOADING: Told, "time.includes-loading",
        "`timestamps` and `start_time` to `end_time` include loading the model, which the energy does not: no power follows from them",
        None;
    ENERGY_NO_DURATION: Absent, "energy.no-duration",
        "version 2 wrote 0.0 for the tracker's own duration on every measured run, so that no mean power follows",
        None;
    ENERGY_PER_TOKEN: Recomputed, "energy.per-token-anew",
        "version 2 wrote 0.0 into the files of processes, and divided by input plus output tokens in aggregates; here it is the total over output tokens",
        None;
    ENERGY_TRACKER_FAILED: Absent, "energy.tracker-failed",
        "the energy tracker failed: the file says so, or all its energies are 0.0, which no running machine takes",
        Some("Measure again with lem run: this file has no energy");
    ENERGY_PARTLY_FAILED: Flagged, "energy.tracker-partly-failed",
        "the tracker of some processes or cycles failed, and the number is made of the others",
        Some("Do not compare it with complete runs");
    ENERGY_COMPONENT_ZERO: Absent, "energy.component-zero",
        "0.0 stands for a component that the tracker did not see, beside others that it saw",
        None;
    ENERGY_OVER_COUNTED: Flagged, "energy.over-counted",
        "each process's tracker saw all GPUs, and version 2 summed them: the GPUs' energy is counted once a process",
        Some("Take it as an upper bound, or measure again with lem run");
    ENERGY_WARM_UP: Flagged, "energy.warm-up-inside",
        "the energy of the streaming warm-up requests is in the total, their tokens are not in the counters: energy per token and per request are too high",
        Some("Take energies per token and per request as upper bounds");
    ENERGY_IDLE: Flagged, "energy.idle-inside",
        "idle power is in every energy of version 2, and none was observed that could be subtracted",
        Some("Compare it with gross energies only (`total_energy_j`), never with corrected ones");
    ENERGY_MIG: Flagged, "energy.mig",
        "the process had a slice of a GPU (MIG), and the energy is that of the whole GPU",
        Some("Take it as an upper bound");
    ENERGY_WARNED: Flagged, "energy.warned",
        "version 2 itself warned of this energy measurement",
        Some("Read the warning, and measure again where it matters");
    ENERGY_SUM: Flagged, "energy.sum-differs",
        "the total is not the sum of its components",
        Some("Trust neither before you know which was meant");
    MEMORY_ZERO: Absent, "memory.zero",
        "0.0 megabytes stand for memory that was not measured",
        None;
    MEMORY_UNIT: Flagged, "memory.allocator",
        "it is what the framework's allocator took at most, in 2^20 bytes, not what the GPUs held",
        None;
    FLOPS_ZERO: Absent, "flops.zero", "0 stands for an estimate that was not made", None;
    CARBON_ZERO: Absent, "carbon.zero", "0 stands for emissions that were not computed", None;
    TIME_ZERO: Absent, "time.zero", "0.0 seconds stand for a time that was not measured", None;
    PROVENANCE_FIRST: Told, "provenance.first-process",
        "aggregates leave the origin of values empty: it is that of the first process",
        None;
    ITL_PROPORTIONAL: Absent, "latency.proportional",
        "the gaps between tokens were made up by sharing a request's time among its tokens; vLLM and TensorRT files are always so, whatever they say",
        Some("Use latency.ttft_ms and latency.e2e_ms, or measure again with lem run");
    TTFT_NOT_STREAMED: Flagged, "latency.not-streamed",
        "the requests were not streamed token by token, so that the time to first token is the tool's own estimate",
        Some("Use latency.e2e_ms, or measure again with lem run");
    LATENCY_SUMMARY: Flagged, "latency.summary",
        "the raw values are missing, and version 2's own summary stands in for them",
        None;
    LATENCY_ANEW: Recomputed, "latency.percentiles-anew",
        "percentiles are by linear interpolation over the raw values of all processes and cycles together",
        None;
    LATENCY_IMPOSSIBLE: Flagged, "latency.impossible",
        "a latency below 0 is none, and was left out of the distribution",
        Some("Distrust the rest of these latencies too");
    CYCLES_ANEW: Recomputed, "cycles.statistics-anew",
        "mean, standard deviation and interval were computed again from the cycles",
        None;
    CYCLES_DIFFER: Flagged, "cycles.statistics-differ",
        "the file's own statistics do not follow from its cycles",
        Some("Use the numbers of this result, and find out which cycles the old ones were of");
    CYCLES_COUNT: Flagged, "cycles.count-differs",
        "the file says another number of cycles or processes than it holds",
        Some("Look for what is missing before you compare");
    PROCESSES_UNVERIFIED: Flagged, "processes.overlap-unverified",
        "version 2 could not verify that the processes ran at the same time",
        Some("Do not take the processes' sum for one system's");
    TIME_NO_ZONE: Absent, "time.no-zone",
        "version 2 wrote local time without its zone, so that the moment is not known",
        None;
    NUMBER_TOO_LARGE: Told, "number.as-text",
        "the number is larger, smaller or longer than 64 bits hold: it stands as text, as it was written, and counts for nothing",
        Some("Check where it came from");
    TYPE_UNEXPECTED: Absent, "value.unexpected-type",
        "the field holds another kind of value than version 2 wrote, and was not read",
        Some("Check what wrote this file");
    VALUE_IMPOSSIBLE: Absent, "value.impossible",
        "no such quantity is below 0 or so large",
        Some("Check what wrote this file");
    TOKENS_DIFFER: Flagged, "tokens.sum-differs",
        "the total is not the sum of input and output tokens",
        Some("Trust neither before you know which was meant");
    LATER_UNKNOWN: Told, "later.unknown-fields",
        "a later version of that tool wrote this file: the fields that version 2 had were read, the others are kept under `legacy`",
        Some("Compare energies only after reading what that version measured");
}

/// Collects notes, each once: the cycles and processes of a file have most in common.
#[derive(Default)]
pub(super) struct Notes {
    notes: RefCell<Vec<MigrationNote>>,
}

/// So many of one code are told one by one; more are one matter.
const MOST_OF_A_CODE: usize = 50;

impl Notes {
    /// `what` is only told the first time that the reason applies to the path.
    pub fn push(&self, path: &str, reason: &Reason, what: impl Into<String>) {
        let mut notes = self.notes.borrow_mut();
        let (mut same, mut of_code) = (false, 0);
        for note in notes.iter().filter(|note| note.code == reason.code) {
            of_code += 1;
            same |= note.path == path;
        }
        if same || of_code >= MOST_OF_A_CODE {
            return;
        }
        notes.push(MigrationNote {
            path: path.to_owned(),
            kind: reason.kind,
            code: reason.code.to_owned(),
            what: what.into(),
            why: reason.why.to_owned(),
        });
    }

    pub fn into_inner(self) -> Vec<MigrationNote> {
        self.notes.into_inner()
    }
}

/// The notes that everyone who reads the result must know, one a code.
pub(super) fn warnings(notes: &[MigrationNote]) -> Vec<WarningText> {
    let of = |reason: &&Reason| {
        let remedy = reason.remedy?;
        let note = notes.iter().find(|note| note.code == reason.code)?;
        Some(WarningText {
            code: format!("v2.{}", reason.code),
            message: format!("{}: {}", note.what, reason.why),
            remedy: remedy.to_owned(),
        })
    };
    REASONS.iter().filter_map(of).collect()
}
