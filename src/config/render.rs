//! Findings as people read them: what, where with the line and a caret, why, what to do.

use std::fmt;

use super::finding::Finding;
use super::place::{FilePlace, Place};
use super::redact;

/// Characters of a source line that are shown; the rest is cut on both sides.
const WIDTH: usize = 96;

pub(crate) fn finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let severity = finding.severity.as_str();
    writeln!(f, "{severity}: {}", finding.message)?;
    let margin = match &finding.place {
        Place::File(place) => {
            let margin = place.line.to_string().len();
            writeln!(f, "{:margin$}--> {place}", "")?;
            snippet(f, place, margin)?;
            margin
        }
        Place::Default | Place::Preset(_) => 1,
        place => {
            writeln!(f, " --> {place}")?;
            1
        }
    };
    if let Some(expected) = &finding.expected {
        writeln!(f, "{:margin$} = expected: {expected}", "")?;
    }
    for (what, place) in &finding.related {
        writeln!(f, "{:margin$} = note: {what}: {place}", "")?;
    }
    writeln!(f, "{:margin$} = help: {}", "", finding.remedy)
}

fn snippet(f: &mut fmt::Formatter<'_>, place: &FilePlace, margin: usize) -> fmt::Result {
    let Some(line) = place.source.text.lines().nth(place.line.saturating_sub(1)) else {
        return Ok(());
    };
    let (line, start, length) = window(line, place.column.saturating_sub(1), place.length);
    let carets = "^".repeat(length);
    writeln!(f, "{:margin$} |", "")?;
    writeln!(f, "{:margin$} | {line}", place.line)?;
    writeln!(f, "{:margin$} | {:start$}{carets}", "", "")
}

/// The line without its secrets and control characters, cut to [`WIDTH`], with the
/// first character to underline and how many.
fn window(line: &str, start: usize, length: usize) -> (String, usize, usize) {
    let mut shown: Vec<char> = Vec::new();
    let mut first = None;
    let mut last = 0;
    let hidden = redact::line_ranges(line);
    for (n, (byte, character)) in line.char_indices().enumerate() {
        if n == start {
            first = Some(shown.len());
        }
        match hidden.iter().find(|range| range.contains(&byte)) {
            Some(range) if range.start == byte => shown.extend("***".chars()),
            Some(_) => {}
            None if character == '\t' => shown.push(' '),
            None if character.is_control() => shown.push('\u{fffd}'),
            None => shown.push(character),
        }
        if n < start + length.max(1) {
            last = shown.len();
        }
    }
    let first = first.unwrap_or(shown.len()).min(shown.len());
    let from = if first + 16 > WIDTH { first - 16 } else { 0 };
    let to = shown.len().min(from + WIDTH);
    let length = last.clamp(first + 1, to.max(first + 1)) - first;
    let mut text: String = shown.get(from..to).unwrap_or_default().iter().collect();
    let mut start = first - from;
    if from > 0 {
        text.insert(0, '…');
        start += 1;
    }
    if to < shown.len() {
        text.push('…');
    }
    (text, start, length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::window;

    #[test]
    fn the_caret_stays_under_its_word_when_a_secret_before_it_is_hidden() {
        let line = "a: {uri: 'http://u:pw@h', batch_sze: 4}";
        let column = line.find("batch_sze").unwrap();
        let (shown, start, length) = window(line, column, 9);
        assert!(!shown.contains("pw"), "{shown}");
        assert_eq!(&shown[start..start + length], "batch_sze");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}HERE{}", "x".repeat(5_000), "y".repeat(5_000));
        let (shown, start, length) = window(&line, 5_000, 4);
        assert!(shown.chars().count() < 110, "{shown}");
        let under: String = shown.chars().skip(start).take(length).collect();
        assert_eq!(under, "HERE");
    }
}
