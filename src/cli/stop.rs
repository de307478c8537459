//! Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the process at once.

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

    /// Returns at the first signal, and from then on watches for a second one.
    pub async fn asked(mut self) {
        let name = self.next().await.0;
        info!(signal = name, "stopping; a second signal ends at once");
        tokio::spawn(async move {
            let (name, code) = self.next().await;
            warn!(signal = name, "ended before the stop was finished; recovery follows at start");
            process::exit(code);
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
