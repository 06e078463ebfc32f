//! One stream is one open file.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that are not streams.
const BESIDE: u64 = 64;

/// Raises this process's soft limit to the hard one, and says what is missing for so many
/// streams at once.
pub fn allow(streams: u64) -> Option<String> {
    let mut limit = getrlimit(Resource::Nofile);
    let need = streams.saturating_add(BESIDE);
    if limit.current.is_some_and(|soft| soft < need) && limit.current != limit.maximum {
        let mut raised = limit;
        raised.current = limit.maximum;
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let soft = limit.current?;
    (soft < need).then(|| {
        format!(
            "up to {streams} streams at once may be needed, and this process may open {soft} files; \
             raise the hard limit (ulimit -Hn, LimitNOFILE= of a service, --ulimit nofile= of a container) to {need}"
        )
    })
}
