//! A picture as text: power in braille dots, with the phases under it.

use std::fmt::Write as _;

use super::picture::Picture;
use super::scale::Scale;
use crate::analysis::Window;

/// Rows of the plot; each has four dots.
const ROWS: usize = 14;
/// Columns of the labels on the left.
const LABELS: usize = 8;
/// The dots of a braille sign, by column and row.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Plain text without colour, at most so many columns wide.
pub fn write(picture: &Picture, columns: usize) -> String {
    let columns = columns.clamp(40, 400);
    let width = columns - LABELS - 2;
    let mut out = String::new();
    let mut put = |line: &str| {
        out.push_str(line.trim_end());
        out.push('\n');
    };
    for line in std::iter::once(&picture.title).chain(&picture.facts) {
        for line in wrapped(line, columns) {
            put(&line);
        }
    }
    put("");
    let Some(total) = picture.power.first() else {
        put("There is no power in this picture; write it to a file with --out");
        return out;
    };
    let idle = picture.idle.iter().map(|i| i.watts);
    let peak = total.range().map_or(0.0, |r| r.1);
    let high = idle.clone().fold(peak, f64::max);
    let dots = (ROWS * 4) as f64;
    let y = Scale::around(0.0, high, 5, dots - 0.5, -0.5);
    let x = Columns {
        span: picture.span,
        count: width * 2,
    };

    let mut cells = vec![[0u32; ROWS]; width];
    let mut dot = |column: usize, row: f64| {
        let row = row.round().clamp(0.0, dots - 1.0) as usize;
        let sign = DOTS[column % 2][row % 4];
        if let Some(cell) = cells.get_mut(column / 2).and_then(|c| c.get_mut(row / 4)) {
            *cell |= sign;
        }
    };
    // A level is dotted, the curve is not.
    for watts in idle {
        let row = y.within(watts);
        (0..x.count).step_by(4).for_each(|column| dot(column, row));
    }
    for (column, range) in x.ranges(&total.points).into_iter().enumerate() {
        if let Some((low, high)) = range {
            let (top, bottom) = (y.within(high).round(), y.within(low).round());
            let mut row = top;
            while row <= bottom {
                dot(column, row);
                row += 1.0;
            }
        }
    }
    put(&format!("{:>LABELS$} ┐", "W"));
    let label_of = |row: usize| {
        let near =
            |tick: &f64| (y.place(*tick).clamp(0.0, dots - 1.0) / 4.0).floor() as usize == row;
        y.ticks().into_iter().find(near)
    };
    for row in 0..ROWS {
        let (label, edge) = match label_of(row) {
            Some(tick) => (y.label(tick), '┤'),
            None => (String::new(), '│'),
        };
        let line: String = cells
            .iter()
            .map(|cell| char::from_u32(0x2800 + cell[row]).unwrap_or(' '))
            .map(|c| if c == '\u{2800}' { ' ' } else { c })
            .collect();
        put(&format!("{label:>LABELS$} {edge}{line}"));
    }
    let seconds = Scale::exact(
        picture.seconds(picture.span.start_ns),
        picture.seconds(picture.span.end_ns),
        (width / 12).max(2),
        0.0,
        (width - 1) as f64,
    );
    let mut axis: Vec<char> = vec!['─'; width];
    let mut labels: Vec<char> = vec![' '; width + LABELS + 2];
    for tick in seconds.ticks() {
        let at = seconds.place(tick).round() as usize;
        if let Some(place) = axis.get_mut(at) {
            *place = '┬';
        }
        let text = seconds.label(tick);
        let start = (LABELS + 2 + at).saturating_sub(text.chars().count() / 2);
        for (i, c) in text.chars().enumerate() {
            if let Some(place) = labels.get_mut(start + i) {
                *place = c;
            }
        }
    }
    let axis: String = axis.into_iter().collect();
    put(&format!("{:>LABELS$} └{axis}", ""));
    put(&labels.into_iter().collect::<String>());
    if !picture.prefill.is_empty() || !picture.decode.is_empty() {
        let strip = phases(picture, width);
        put(&format!("{:>LABELS$}  {strip}", "phase"));
        put(&format!("{:>LABELS$}  █ prefill   ▒ decode", ""));
    }
    let mut under = picture.time_label.clone();
    if !picture.idle.is_empty() {
        let level = |i: &super::picture::Idle| format!("{} {:.1} W {}", i.name, i.watts, i.meaning);
        let levels: Vec<String> = picture.idle.iter().map(level).collect();
        let _ = write!(under, "; dotted: {}", levels.join(", "));
    }
    for line in wrapped(&under, columns - LABELS - 2) {
        put(&format!("{:>LABELS$}  {line}", ""));
    }
    out
}

/// Time in columns of equal width.
struct Columns {
    span: Window,
    count: usize,
}

impl Columns {
    fn of(&self, t_ns: u64) -> usize {
        let since = u128::from(t_ns.saturating_sub(self.span.start_ns));
        let column = since * self.count as u128 / u128::from(self.span.len_ns().max(1));
        (column as usize).min(self.count.saturating_sub(1))
    }

    /// Lowest and highest value of the line in each column.
    fn ranges(&self, points: &[(u64, Option<f64>)]) -> Vec<Option<(f64, f64)>> {
        let mut ranges: Vec<Option<(f64, f64)>> = vec![None; self.count];
        let mut add = |column: usize, value: f64| {
            if let Some(range) = ranges.get_mut(column) {
                let (low, high) = range.unwrap_or((value, value));
                *range = Some((low.min(value), high.max(value)));
            }
        };
        let mut before: Option<(usize, f64)> = None;
        for (t, value) in points {
            let here = value.map(|value| (self.of(*t), value));
            if let Some((column, value)) = here {
                if let Some((from, start)) = before {
                    // The straight line over the columns between, and to this one's edge.
                    // A column begins where the one before it ended, so that edges are drawn.
                    let mut last = start;
                    for between in from + 1..=column {
                        let share = (between - from) as f64 / (column - from) as f64;
                        add(between, last);
                        last = start + (value - start) * share;
                        add(between, last);
                    }
                }
                add(column, value);
            }
            before = here;
        }
        ranges
    }
}

/// The phase that fills most of each column.
fn phases(picture: &Picture, width: usize) -> String {
    let span = picture.span;
    let edge = |i: usize| {
        let ns = u128::from(span.len_ns()) * i as u128 / width as u128;
        span.start_ns + ns as u64
    };
    let filled = |windows: &[Window], strip: Window| -> u64 {
        let first = windows.partition_point(|w| w.end_ns <= strip.start_ns);
        let here = windows.iter().skip(first);
        here.take_while(|w| w.start_ns < strip.end_ns)
            .filter_map(|w| w.clip(&strip))
            .map(|w| w.len_ns())
            .sum()
    };
    (0..width)
        .map(|i| {
            let strip = Window::new(edge(i), edge(i + 1));
            let (prefill, decode) = (
                filled(&picture.prefill, strip),
                filled(&picture.decode, strip),
            );
            let other = strip.len_ns().saturating_sub(prefill + decode);
            match prefill.max(decode).max(other) {
                most if most == other => ' ',
                most if most == prefill => '█',
                _ => '▒',
            }
        })
        .collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Not at a no-break space.
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if let Some(line) = lines.last_mut()
            && line.chars().count() + 1 + word.chars().count() <= width
        {
            *line = format!("{line} {word}");
            continue;
        }
        lines.push(word.to_owned());
    }
    lines
}
