//! Which request may go, and since when. Pure: times come in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::{Load, Plan};

/// A request that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub job: usize,
    /// Since when.
    pub due_ns: u64,
}

#[derive(Debug)]
pub struct Schedule {
    /// Requests that follow nothing, in the order in which they go, with their due times.
    fresh: VecDeque<(usize, u64)>,
    /// Follow-ups whose predecessor has finished, by due time.
    thinking: BinaryHeap<Reverse<(u64, usize)>>,
    /// Times at which the free places became free; `None`: places do not matter.
    places: Option<VecDeque<u64>>,
    /// A conversation keeps its place until its end.
    place_per_conversation: bool,
    followers: Vec<Vec<usize>>,
    think_ns: Vec<u64>,
}

impl Schedule {
    pub fn new(plan: &Plan, start_ns: u64) -> Self {
        let n = plan.jobs.len();
        let mut followers = vec![Vec::new(); n];
        let mut think_ns = vec![0; n];
        let mut fresh: Vec<(usize, u64)> = Vec::new();
        for (i, job) in plan.jobs.iter().enumerate() {
            match job.after {
                Some(after) => {
                    followers[after.job].push(i);
                    think_ns[i] = nanos(after.think);
                }
                None if plan.load == Load::Open => {
                    fresh.push((i, start_ns.saturating_add(nanos(job.due))));
                }
                None => fresh.push((i, start_ns)),
            }
        }
        fresh.sort_by_key(|(_, due)| *due);
        let (places, place_per_conversation) = match plan.load {
            Load::Closed { concurrency } => (Some(concurrency), false),
            Load::Users { users } => (Some(users), true),
            Load::Open => (None, false),
        };
        Self {
            fresh: fresh.into(),
            thinking: BinaryHeap::new(),
            places: places.map(|n| std::iter::repeat_n(start_ns, n.min(plan.jobs.len())).collect()),
            place_per_conversation,
            followers,
            think_ns,
        }
    }

    pub fn has_followers(&self, job: usize) -> bool {
        !self.followers[job].is_empty()
    }

    pub fn followers(&self, job: usize) -> usize {
        self.followers[job].len()
    }

    /// The next request that may go by now; takes it off.
    pub fn next(&mut self, now_ns: u64) -> Option<Ready> {
        let thought = self.thinking.peek().map(|Reverse(next)| *next);
        if let Some((due_ns, job)) = thought.filter(|(due, _)| *due <= now_ns) {
            let free = if self.place_per_conversation {
                due_ns
            } else {
                self.take_place()?
            };
            self.thinking.pop();
            return Some(Ready {
                job,
                due_ns: due_ns.max(free),
            });
        }
        let (job, due_ns) = self.fresh.front().copied()?;
        if due_ns > now_ns {
            return None;
        }
        let free = self.take_place()?;
        self.fresh.pop_front();
        Some(Ready {
            job,
            due_ns: due_ns.max(free),
        })
    }

    /// When the clock alone will let the next one go; `None`: only another's end will, or
    /// nothing is left.
    pub fn next_due_ns(&self) -> Option<u64> {
        let has_place = self.places.as_ref().is_none_or(|p| !p.is_empty());
        let thinking = self
            .thinking
            .peek()
            .map(|Reverse((due, _))| *due)
            .filter(|_| has_place || self.place_per_conversation);
        let fresh = self
            .fresh
            .front()
            .map(|(_, due)| *due)
            .filter(|_| has_place);
        thinking.into_iter().chain(fresh).min()
    }

    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.thinking.is_empty()
    }

    /// A request has finished: its place is free, and those that follow it may think.
    pub fn finished(&mut self, job: usize, now_ns: u64) {
        let followers = std::mem::take(&mut self.followers[job]);
        // The follower goes on in this place; there is one at most where places are kept.
        let keeps = self.place_per_conversation && !followers.is_empty();
        for next in &followers {
            let due = now_ns.saturating_add(self.think_ns[*next]);
            self.thinking.push(Reverse((due, *next)));
        }
        if !keeps {
            self.free_place(now_ns);
        }
    }

    /// A request has failed: its place is free. Returns all that can never go now.
    pub fn failed(&mut self, job: usize, now_ns: u64) -> Vec<usize> {
        self.free_place(now_ns);
        let mut lost = Vec::new();
        let mut from = vec![job];
        while let Some(job) = from.pop() {
            for next in std::mem::take(&mut self.followers[job]) {
                lost.push(next);
                from.push(next);
            }
        }
        lost
    }

    fn take_place(&mut self) -> Option<u64> {
        match &mut self.places {
            None => Some(0),
            Some(places) => places.pop_front(),
        }
    }

    fn free_place(&mut self, now_ns: u64) {
        if let Some(places) = &mut self.places {
            places.push_back(now_ns);
        }
    }
}

pub fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{After, Job, Prompt};

    fn job(due_ms: u64, after: Option<(usize, u64)>) -> Job {
        Job {
            due: Duration::from_millis(due_ms),
            after: after.map(|(job, ms)| After {
                job,
                think: Duration::from_millis(ms),
            }),
            ..Job::new(Prompt::Text("x".into()), 1)
        }
    }

    const MS: u64 = 1_000_000;

    fn ready(schedule: &mut Schedule, now_ms: u64) -> Vec<(usize, u64)> {
        std::iter::from_fn(|| schedule.next(now_ms * MS))
            .map(|r| (r.job, r.due_ns / MS))
            .collect()
    }

    #[test]
    fn open_goes_by_the_clock_alone() {
        let plan = Plan::new(
            vec![job(20, None), job(10, None), job(0, Some((1, 5)))],
            Load::Open,
        );
        let mut s = Schedule::new(&plan, 100 * MS);
        assert_eq!(s.next_due_ns(), Some(110 * MS));
        assert_eq!(ready(&mut s, 109), []);
        // late by 15 ms: the due time stays what it was
        assert_eq!(ready(&mut s, 125), [(1, 110), (0, 120)]);
        assert_eq!(s.next_due_ns(), None);
        s.finished(1, 130 * MS);
        assert_eq!(s.next_due_ns(), Some(135 * MS));
        assert_eq!(ready(&mut s, 140), [(2, 135)]);
        assert!(s.is_empty());
    }

    #[test]
    fn closed_goes_when_a_place_is_free() {
        let plan = Plan::new(
            vec![
                job(0, None),
                job(0, None),
                job(0, Some((0, 50))),
                job(0, None),
            ],
            Load::Closed { concurrency: 1 },
        );
        let mut s = Schedule::new(&plan, 0);
        assert_eq!(ready(&mut s, 1), [(0, 0)]);
        s.finished(0, 10 * MS);
        // while the first user thinks, the next one goes
        assert_eq!(ready(&mut s, 11), [(1, 10)]);
        assert_eq!(ready(&mut s, 70), []);
        s.finished(1, 80 * MS);
        // the follow-up waited for the place, not for its thinking, and goes first
        assert_eq!(ready(&mut s, 81), [(2, 80)]);
        assert!(s.failed(2, 90 * MS).is_empty());
        assert_eq!(ready(&mut s, 91), [(3, 90)]);
    }

    #[test]
    fn a_user_keeps_the_place_while_thinking() {
        let plan = Plan::new(
            vec![job(0, None), job(0, Some((0, 50))), job(0, None)],
            Load::Users { users: 1 },
        );
        let mut s = Schedule::new(&plan, 0);
        assert_eq!(ready(&mut s, 0), [(0, 0)]);
        s.finished(0, 10 * MS);
        assert_eq!(ready(&mut s, 59), []);
        assert_eq!(s.next_due_ns(), Some(60 * MS));
        assert_eq!(ready(&mut s, 60), [(1, 60)]);
        s.finished(1, 70 * MS);
        assert_eq!(ready(&mut s, 70), [(2, 70)]);
    }

    #[test]
    fn what_follows_a_failure_never_goes() {
        let plan = Plan::new(
            vec![
                job(0, None),
                job(0, Some((0, 0))),
                job(0, Some((1, 0))),
                job(0, None),
            ],
            Load::Users { users: 1 },
        );
        let mut s = Schedule::new(&plan, 0);
        assert_eq!(ready(&mut s, 0), [(0, 0)]);
        assert_eq!(s.failed(0, MS), [1, 2]);
        assert_eq!(ready(&mut s, 1), [(3, 1)]);
        assert!(s.is_empty());
    }
}
