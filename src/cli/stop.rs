//! Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the process at once, and so
//! does the end of the time that a stop may take.

use std::time::Duration;
use std::{io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// The two signals, caught from now on.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Must be called inside a runtime.
    pub fn listen() -> io::Result<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Returns at the first signal, and from then on watches for a second one, for as long as a
    /// stop may take.
    pub async fn asked(mut self, grace: Duration) {
        let (name, code) = self.next().await;
        if grace.is_zero() {
            end(code, "told to stop without grace");
        }
        info!(signal = name, ?grace, "stopping; a second signal ends at once");
        tokio::spawn(async move {
            tokio::select! {
                biased;
                (name, code) = self.next() => end(code, name),
                () = tokio::time::sleep(grace) => end(code, "--shutdown-grace is over"),
            }
        });
    }

    /// Its name, and the exit code of a process that it ends.
    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => ("SIGINT", 130),
            _ = self.terminate.recv() => ("SIGTERM", 143),
        }
    }
}

fn end(code: i32, why: &str) -> ! {
    warn!(why, "ended before the stop was finished; recovery follows at start");
    process::exit(code)
}
