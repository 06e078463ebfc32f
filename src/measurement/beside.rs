//! Writing in parts while something long is measured.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Does the work, and beside it calls `write` each time that `every` has passed. `write` gets
/// where the last part ended (at first `since_ns`) and says where this one does.
pub fn written_beside<T>(
    every: Duration,
    since_ns: u64,
    mut write: impl FnMut(u64) -> u64 + Send,
    work: impl FnOnce() -> T,
) -> T {
    let done = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut since = since_ns;
            let mut finished = lock(&done.0);
            while !*finished {
                let (guard, wait) = done
                    .1
                    .wait_timeout(finished, every)
                    .unwrap_or_else(PoisonError::into_inner);
                finished = guard;
                if wait.timed_out() && !*finished {
                    drop(finished);
                    since = write(since);
                    finished = lock(&done.0);
                }
            }
        });
        // Also when the work panics: a scope waits for its threads.
        let _end = SetOnDrop(&done);
        work()
    })
}

/// A panic elsewhere must not cost the records: what a poisoned lock guards is still whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct SetOnDrop<'a>(&'a (Mutex<bool>, Condvar));

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}
