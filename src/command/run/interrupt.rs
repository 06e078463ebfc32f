//! Ctrl-C and SIGTERM: the first asks, the second stops.

use crate::command::{Exit, say};
use crate::engine::Cancel;

/// From here on the first signal sets `cancel`; a second one ends the process at once.
/// The log is safe at any moment: it is synced at each cycle's end.
pub fn watch(cancel: &Cancel) {
    let cancel = cancel.clone();
    let watching = std::thread::Builder::new()
        .name("lem-signals".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let (Ok(mut interrupt), Ok(mut terminate)) = (
                    signal(SignalKind::interrupt()),
                    signal(SignalKind::terminate()),
                ) else {
                    return;
                };
                for asked in 0.. {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if asked > 0 {
                        std::process::exit(Exit::Interrupted as i32);
                    }
                    cancel.cancel();
                    say("Stopping: this cycle's records are kept. Once more to stop at once.");
                }
            });
        });
    if watching.is_err() {
        say(
            "warning: signals cannot be watched; Ctrl-C ends the run at once, and lem export delivers what was finished",
        );
    }
}
