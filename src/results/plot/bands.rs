//! Where in a picture a phase was: as rectangles while there is room for each, else as how
//! much of each strip of the page it filled.

use crate::analysis::Window;

/// More windows than this in one picture are narrower than a reader can tell apart.
pub const ROOM: usize = 240;
/// Shades of a strip that a phase fills in part.
const SHADES: usize = 6;

/// Stretches of a picture that are painted alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Shade {
    /// From above 0 to 1: how much of the stretches the phase fills.
    pub share: f64,
    /// Start and end.
    pub stretches: Vec<(u64, u64)>,
}

/// `windows` in order and disjoint; `strips` is how many the page has room for.
pub fn shades(windows: &[Window], span: Window, strips: usize) -> Vec<Shade> {
    let inside: Vec<(u64, u64)> = windows
        .iter()
        .filter_map(|window| window.clip(&span))
        .map(|window| (window.start_ns, window.end_ns))
        .collect();
    if inside.is_empty() {
        return Vec::new();
    }
    if inside.len() <= ROOM {
        return vec![Shade {
            share: 1.0,
            stretches: inside,
        }];
    }
    let strips = strips.clamp(1, 10_000) as u64;
    let edge = |i: u64| {
        let ns = u128::from(span.len_ns()) * u128::from(i) / u128::from(strips);
        span.start_ns + ns as u64
    };
    let mut shades: Vec<Shade> = (1..=SHADES)
        .map(|i| Shade {
            share: i as f64 / SHADES as f64,
            stretches: Vec::new(),
        })
        .collect();
    let mut first = 0;
    for strip in 0..strips {
        let (start, end) = (edge(strip), edge(strip + 1));
        while inside.get(first).is_some_and(|(_, e)| *e <= start) {
            first += 1;
        }
        let here = inside.iter().skip(first).take_while(|(s, _)| *s < end);
        let filled: u64 = here.map(|(s, e)| (*e).min(end) - (*s).max(start)).sum();
        let share = filled as f64 / (end - start).max(1) as f64;
        let level = (share * SHADES as f64).round() as usize;
        if let Some(shade) = level.checked_sub(1).and_then(|i| shades.get_mut(i)) {
            match shade.stretches.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => shade.stretches.push((start, end)),
            }
        }
    }
    shades.retain(|shade| !shade.stretches.is_empty());
    shades
}

#[cfg(test)]
mod tests {
    use super::{Shade, shades};
    use crate::analysis::Window;

    #[test]
    fn few_windows_stay_as_they_are_and_many_become_shades() {
        let span = Window::new(100, 1_100);
        let few = [Window::new(0, 150), Window::new(200, 300)];
        let kept = shades(&few, span, 10);
        let stretches = vec![(100, 150), (200, 300)];
        assert_eq!(
            kept,
            [Shade {
                share: 1.0,
                stretches
            }]
        );
        assert!(shades(&[Window::new(0, 50)], span, 10).is_empty());
        // One nanosecond in two, over the first half of the picture.
        let many: Vec<Window> = (0..250)
            .map(|i| Window::new(100 + 2 * i, 101 + 2 * i))
            .collect();
        let half = shades(&many, span, 10);
        assert_eq!(half.len(), 1);
        assert_eq!(
            (half[0].share, &half[0].stretches[..]),
            (0.5, &[(100, 600)][..])
        );
    }
}
