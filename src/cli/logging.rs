//! What the log looks like: for people on a terminal, for machines elsewhere.

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

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
    let asked = env::var("RUST_LOG").ok().filter(|asked| !asked.trim().is_empty());
    let parsed = asked.as_deref().map(str::parse::<Targets>).transpose();
    let everything = Targets::new().with_default(LevelFilter::INFO);
    let (filter, error) = match parsed {
        Ok(filter) => (filter.unwrap_or(everything), None),
        Err(error) => (everything, Some(error)),
    };
    let log = fmt::layer().with_writer(io::stderr);
    let format = match format {
        LogFormat::Auto if is_terminal() => LogFormat::Human,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let log = match format {
        LogFormat::Json => log.json().flatten_event(true).boxed(),
        LogFormat::Plain => log.with_ansi(false).boxed(),
        LogFormat::Human | LogFormat::Auto => {
            log.with_ansi(is_terminal()).with_target(false).compact().boxed()
        }
    };
    tracing_subscriber::registry().with(filter).with(log).init();
    if let Some(error) = error {
        warn!(%error, "RUST_LOG is not understood, taken as `info`");
    }
}
