//! Times of several logs on one clock.
//!
//! Within a boot all processes read the same monotonic clock, and nothing has to be done.
//! Otherwise the wall clock joins them: a log's times are moved as a whole, by the median of
//! the differences between both clocks, so that no duration changes.

use super::part::Part;
use crate::analysis::{RunData, Window};

/// How the logs were joined.
pub struct Joined {
    pub told: String,
    /// Largest movement of a wall clock against its monotonic one; of one boot `None`.
    pub moved_s: Option<f64>,
}

/// Moves all parts onto the clock of the first.
pub fn join(parts: &mut [Part]) -> Result<Joined, String> {
    let boots: Vec<Option<String>> = parts.iter().map(|p| p.boot().map(str::to_owned)).collect();
    let first = boots.first().cloned().flatten();
    if first.is_some() && boots.iter().all(|boot| *boot == first) {
        return Ok(Joined {
            told: "the monotonic clock of one boot, which all processes share".into(),
            moved_s: None,
        });
    }
    let mut offsets = Vec::new();
    let mut moved: i128 = 0;
    for part in &*parts {
        let (offset, span) = offset(&part.data).ok_or_else(|| {
            format!("the run in {} does not tell the wall time: it cannot be joined with runs of another boot", part.folder.display())
        })?;
        offsets.push(offset);
        moved = moved.max(span);
    }
    let base = offsets.first().copied().unwrap_or(0);
    // Of one boot the offsets differ by noise only: those share the first's.
    let mut by_boot: Vec<(String, i128)> = Vec::new();
    for (boot, offset) in boots.iter().zip(&mut offsets) {
        let Some(boot) = boot else { continue };
        match by_boot.iter().find(|(known, _)| known == boot) {
            Some((_, known)) => *offset = *known,
            None => by_boot.push((boot.clone(), *offset)),
        }
    }
    let moves: Vec<i128> = offsets.iter().map(|offset| offset - base).collect();
    // A host that booted after the first had run has times before that clock's zero.
    let earliest = parts
        .iter()
        .zip(&moves)
        .filter_map(|(part, by)| Some(i128::from(part.data.started_at?.mono_ns) + by))
        .min()
        .unwrap_or(0);
    let lift = (-earliest).max(0);
    for (part, by) in parts.iter_mut().zip(moves) {
        shift(&mut part.data, by + lift);
    }
    Ok(Joined {
        told: format!(
            "the wall clocks of {} boots, as well as their hosts keep them together",
            by_boot.len().max(2)
        ),
        moved_s: Some(moved as f64 / 1e9),
    })
}

/// The median of wall minus monotonic time, and how far it moved.
fn offset(data: &RunData) -> Option<(i128, i128)> {
    let mut differences: Vec<i128> = data
        .clock
        .iter()
        .map(|(mono, unix)| i128::from(*unix) - i128::from(*mono))
        .collect();
    if differences.is_empty() {
        let at = data.started_at?;
        differences.push(i128::from(at.unix_ns) - i128::from(at.mono_ns));
    }
    differences.sort_unstable();
    let median = differences.get(differences.len() / 2)?;
    Some((*median, differences.last()? - differences.first()?))
}

/// Moves every time of a log.
fn shift(data: &mut RunData, by: i128) {
    if by == 0 {
        return;
    }
    let moved = |t: u64| u64::try_from((i128::from(t) + by).max(0)).unwrap_or(u64::MAX);
    let window = |w: Window| Window::new(moved(w.start_ns), moved(w.end_ns));
    for at in [&mut data.started_at, &mut data.last_at]
        .into_iter()
        .flatten()
    {
        at.mono_ns = moved(at.mono_ns);
    }
    for samples in data.samples.values_mut() {
        samples.t_ns.iter_mut().for_each(|t| *t = moved(*t));
    }
    for (mono, _) in &mut data.clock {
        *mono = moved(*mono);
    }
    for cycle in &mut data.cycles {
        cycle.window = window(cycle.window);
        cycle.phases.iter_mut().for_each(|(_, w)| *w = window(*w));
        for request in &mut cycle.requests {
            request.window = window(request.window);
            let timeline = &mut request.timeline;
            timeline.token_ns.iter_mut().for_each(|t| *t = moved(*t));
            timeline.scheduled_ns = timeline.scheduled_ns.map(moved);
            timeline.answer_ns = timeline.answer_ns.map(moved);
        }
    }
}
