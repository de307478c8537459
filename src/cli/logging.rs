//! What the log looks like: for people on a terminal, for machines elsewhere.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// human on a terminal, json elsewhere.
    #[default]
    Auto,
    Human,
    Plain,
    Json,
}

/// Whether standard error is a terminal.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Begins logging to standard error. `RUST_LOG` says how much; without it, `info`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let format = match format {
        LogFormat::Auto if is_terminal() => LogFormat::Human,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Plain => log.with_ansi(false).init(),
        LogFormat::Human | LogFormat::Auto => {
            log.with_ansi(is_terminal()).with_target(false).compact().init();
        }
    }
}
