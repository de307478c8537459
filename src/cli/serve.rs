//! `ottla serve`: load the configuration, run the broker in the real world until it is stopped.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ottla::config::unit::duration;
use ottla::env::tokio::TokioEnv;
use ottla::server::node::{self, Ready};
use tracing::{info, warn};

use super::failure::Failure;
use super::logging::{self, LogFormat};
use super::ports;
use super::stop::Stop;
use super::{banner, load};

#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Where to listen; port 0 draws a free one [default: localhost:9092] [env: OTTLA_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where the data is kept; formatted when it is new [default: ./data] [env: OTTLA_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Options in TOML, or in Java's format when it is named *.properties
    #[arg(long, value_name = "FILE", env = "OTTLA_CONFIG")]
    pub config: Option<PathBuf>,
    /// One option, by Kafka's name; stronger than file and environment
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub define: Vec<String>,
    /// The number of this node: the option node.id [default: 1]
    #[arg(long, value_name = "N")]
    pub node_id: Option<i32>,
    /// How long a clean stop may take, such as 30s; then the process ends as if it was killed
    #[arg(long, value_name = "DURATION", env = "OTTLA_SHUTDOWN_GRACE", value_parser = duration)]
    #[arg(default_value = "30s")]
    pub shutdown_grace: Option<Duration>,
    /// The cluster of this node: new directories get it, those of another are refused
    #[arg(long, value_name = "ID", env = "OTTLA_CLUSTER_ID")]
    pub cluster_id: Option<String>,
    /// Write the addresses to FILE, as JSON, once the broker answers
    #[arg(long, value_name = "FILE", env = "OTTLA_PORTS_FILE")]
    pub ports_file: Option<PathBuf>,
    /// Refuse to start when an option is unknown
    #[arg(long, env = "OTTLA_STRICT_CONFIG")]
    pub strict_config: bool,
    /// How the log is written
    #[arg(long, value_name = "FORMAT", env = "OTTLA_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// Runs until a signal stops it, or something does.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let start = load::load(arguments)?;
    logging::start(arguments.log_format);
    for warning in &start.warnings {
        warn!("{warning}");
    }
    let runtime = TokioEnv::runtime()
        .map_err(|error| Failure::Other(format!("the runtime does not start: {error}")))?;
    let env = TokioEnv::new(runtime.handle().clone());
    runtime.block_on(async {
        let stop = Stop::listen()
            .map_err(|error| Failure::Other(format!("signals cannot be caught: {error}")))?;
        let data_dirs = start.config.data_dirs().to_vec();
        let on_ready = |ready: Ready| announce(&ready, &data_dirs, arguments);
        let stop = stop.asked(start.shutdown_grace);
        node::run(env, start, on_ready, stop).await.map_err(Failure::from)
    })
}

/// Tells the terminal, or the log, and the ports file.
fn announce(ready: &Ready, data_dirs: &[String], arguments: &Arguments) {
    if let Some(path) = &arguments.ports_file
        && let Err(error) = ports::write(path, ready)
    {
        warn!(path = %path.display(), %error, "the ports file is not written");
    }
    if logging::is_terminal() && arguments.log_format != LogFormat::Json {
        eprintln!("{}", banner::banner(ready, data_dirs));
        return;
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = ready.cluster_id,
        fresh = ready.is_fresh,
        data = data_dirs.join(","),
        listeners = ready.advertised.join(","),
        "ready"
    );
}
