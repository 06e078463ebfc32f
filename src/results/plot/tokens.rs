//! When tokens came: requests on lanes, or a rate where they are too many.

use crate::analysis::{RequestData, Window};

/// More requests at once than this do not get a lane each.
const MAX_LANES: usize = 32;
/// More requests than this are not drawn one by one.
const MAX_REQUESTS: usize = 2_000;
const BINS: usize = 180;

/// One request on its lane; times are CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    pub lane: usize,
    pub start_ns: u64,
    pub end_ns: u64,
    /// Of each output token, or of each chunk.
    pub token_ns: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Tokens {
    Lanes {
        stories: Vec<Story>,
        lanes: usize,
        /// Each time is that of one token.
        single: bool,
    },
    /// Output tokens a second of all requests, at the middle of each bin.
    Rate(Vec<(u64, f64)>),
}

pub fn of<'a>(requests: impl Iterator<Item = &'a RequestData>, span: Window) -> Option<Tokens> {
    let mut inside: Vec<&RequestData> = requests
        .filter(|r| r.window.clip(&span).is_some() && !r.timeline.token_ns.is_empty())
        .collect();
    inside.sort_by_key(|r| (r.window.start_ns, r.timeline.id));
    if inside.is_empty() {
        return None;
    }
    if inside.len() <= MAX_REQUESTS
        && let Some(lanes) = lanes(&inside)
    {
        return Some(lanes);
    }
    Some(Tokens::Rate(rate(&inside, span)))
}

/// Each request on the first lane that is free.
fn lanes(requests: &[&RequestData]) -> Option<Tokens> {
    let mut free: Vec<u64> = Vec::new();
    let mut stories = Vec::with_capacity(requests.len());
    for request in requests {
        let (start_ns, end_ns) = (request.window.start_ns, request.window.end_ns);
        let lane = match free.iter().position(|until| *until <= start_ns) {
            Some(lane) => lane,
            None => {
                free.push(0);
                free.len() - 1
            }
        };
        if free.len() > MAX_LANES {
            return None;
        }
        if let Some(until) = free.get_mut(lane) {
            *until = end_ns;
        }
        stories.push(Story {
            lane,
            start_ns,
            end_ns,
            token_ns: request.timeline.token_ns.clone(),
        });
    }
    Some(Tokens::Lanes {
        stories,
        lanes: free.len(),
        single: requests.iter().all(|r| r.timeline.true_token_times),
    })
}

fn rate(requests: &[&RequestData], span: Window) -> Vec<(u64, f64)> {
    let width = span.len_ns().div_ceil(BINS as u64).max(1);
    let mut counts = vec![0u64; BINS];
    for request in requests {
        for (i, t) in request.timeline.token_ns.iter().enumerate() {
            let Some(since) = t.checked_sub(span.start_ns) else {
                continue;
            };
            let chunk = request.timeline.chunk_tokens.get(i).copied().unwrap_or(1);
            if let Some(count) = counts.get_mut((since / width) as usize) {
                *count += u64::from(chunk);
            }
        }
    }
    let seconds = width as f64 / 1e9;
    let bins = counts.into_iter().enumerate();
    bins.map(|(i, n)| {
        let middle = span.start_ns + i as u64 * width + width / 2;
        (middle, n as f64 / seconds)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use lem_record::{FinishReason, RequestTimeline};

    use super::{Tokens, of};
    use crate::analysis::{RequestData, Window};

    fn request(id: u64, start: u64, end: u64) -> RequestData {
        RequestData {
            window: Window::new(start, end),
            timeline: RequestTimeline {
                id,
                input_tokens: 1,
                output_tokens: 2,
                scheduled_ns: None,
                token_ns: vec![start + 1, end],
                chunk_tokens: Vec::new(),
                true_token_times: true,
                answer_ns: None,
                engine: Default::default(),
                finish: FinishReason::Length,
                error: None,
            },
        }
    }

    #[test]
    fn requests_share_lanes_unless_they_overlap() {
        let all = [request(0, 0, 10), request(1, 5, 20), request(2, 10, 30)];
        let Some(Tokens::Lanes { stories, lanes, .. }) = of(all.iter(), Window::new(0, 100)) else {
            panic!("three requests have lanes");
        };
        let used: Vec<usize> = stories.iter().map(|s| s.lane).collect();
        assert_eq!((used, lanes), (vec![0, 1, 0], 2));
        assert_eq!(of(all.iter(), Window::new(500, 600)), None);
    }

    #[test]
    fn too_many_at_once_are_a_rate_that_keeps_every_token() {
        let all: Vec<_> = (0..40).map(|i| request(i, i, 1_000_000_000)).collect();
        let Some(Tokens::Rate(rate)) = of(all.iter(), Window::new(0, 1_800_000_000)) else {
            panic!("40 requests at once have no lanes");
        };
        let tokens: f64 = rate.iter().map(|(_, per_second)| per_second * 0.01).sum();
        assert!((tokens - 80.0).abs() < 1e-6, "{tokens}");
    }
}
