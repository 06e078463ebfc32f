//! The load of all processors, from `/proc/stat`.

use std::sync::{Arc, Mutex, PoisonError};

use lem_record::Stamp;

use super::file::{OpenFile, numbers};
use crate::environment::{Root, why};

/// The kernel writes the whole file, interrupts and all, at each reading: two meters that ask
/// in the same tick share one.
const SHARED_NS: u64 = 3_000_000;

/// Jiffies since boot: busy, and all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Jiffies {
    pub busy: u64,
    pub all: u64,
}

#[derive(Clone, Debug)]
pub(super) struct LoadFile(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    file: OpenFile,
    last: Option<(u64, Jiffies)>,
}

impl LoadFile {
    pub fn open(root: &Root) -> Result<Self, String> {
        let file =
            OpenFile::open(&root.path("proc/stat")).map_err(|error| why("/proc/stat", &error))?;
        let load = Self(Arc::new(Mutex::new(Shared { file, last: None })));
        load.read()?;
        Ok(load)
    }

    pub fn read(&self) -> Result<Jiffies, String> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::mono_ns();
        if let Some((t_ns, jiffies)) = shared.last
            && now.saturating_sub(t_ns) < SHARED_NS
        {
            return Ok(jiffies);
        }
        let mut buffer = [0; 256];
        let text = shared
            .file
            .read(&mut buffer)
            .map_err(|error| format!("/proc/stat could not be read: {error}"))?;
        let jiffies = parse(text).ok_or("/proc/stat does not start with the load")?;
        shared.last = Some((now, jiffies));
        Ok(jiffies)
    }
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; a guest's time is
/// part of user and nice. Stolen time was worked by others.
fn parse(text: &[u8]) -> Option<Jiffies> {
    let line = text.split(|b| *b == b'\n').next()?;
    let mut fields = [0u64; 8];
    let mut words = numbers(line.strip_prefix(b"cpu ")?);
    for (i, field) in fields.iter_mut().enumerate() {
        match words.next() {
            Some(number) => *field = number?,
            // Older kernels have fewer.
            None if i >= 4 => break,
            None => return None,
        }
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = fields;
    let sum = |parts: &[u64]| parts.iter().fold(0u64, |a, b| a.saturating_add(*b));
    let busy = sum(&[user, nice, system, irq, softirq]);
    Some(Jiffies {
        busy,
        all: sum(&[busy, idle, iowait, steal]),
    })
}

/// Utilisation between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utilisation {
    last: Option<Jiffies>,
}

impl Utilisation {
    /// Busy share since the call before, from 0 to 1; `None` at the first one, and where no
    /// jiffy has passed.
    pub fn advance(&mut self, now: Jiffies) -> Option<f64> {
        let Some(last) = self.last else {
            self.last = Some(now);
            return None;
        };
        let all = now.all.saturating_sub(last.all);
        if all == 0 {
            return None;
        }
        self.last = Some(now);
        let busy = now.busy.saturating_sub(last.busy);
        Some((busy as f64 / all as f64).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Jiffies, Utilisation, parse};

    #[test]
    fn the_first_line_is_the_load_of_all() {
        let text = b"cpu  10 1 5 100 4 2 3 7 6 0\ncpu0 1 1 1 1\n";
        assert_eq!(parse(text), Some(Jiffies { busy: 21, all: 132 }));
        assert_eq!(parse(b"cpu 1 2 3 4"), Some(Jiffies { busy: 6, all: 10 }));
        for wrong in [
            &b""[..],
            b"cpu",
            b"cpu 1 2 3",
            b"cpu a b c d",
            b"intr 5 5 5 5",
        ] {
            assert_eq!(parse(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn utilisation_is_a_share_whatever_the_kernel_says(
            readings in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20),
        ) {
            let mut utilisation = Utilisation::default();
            for (busy, all) in readings {
                if let Some(u) = utilisation.advance(Jiffies { busy, all }) {
                    prop_assert!((0.0..=1.0).contains(&u));
                }
            }
        }
    }
}
