//! Boots the broker that production runs, on a simulated node.

use std::collections::BTreeMap;

use ottla::config::layers::Origin;
use ottla::config::settings::{Settings, Start};
use ottla::server::node;

use crate::check::ghost::DATA_DIR;
use crate::env::SimEnv;
use crate::net::address_of;
use crate::workload::BROKER_PORT;

/// Runs until the node is killed, or asked to stop. `Err` says why it stopped by itself.
pub async fn run(
    env: SimEnv,
    host: usize,
    options: BTreeMap<String, String>,
) -> Result<(), String> {
    let start = settings(host, &options)?;
    let stop = env.stop_asked();
    let serving = env.clone();
    node::run(env, start, |_ready| serving.set_serves(), stop)
        .await
        .map_err(|error| error.to_string())
}

fn settings(host: usize, options: &BTreeMap<String, String>) -> Result<Start, String> {
    let mut settings = Settings::default();
    let mut set = |name: &str, value: &str| settings.set(name, value, Origin::CommandLine);
    set("node.id", &(host + 1).to_string());
    set("listeners", &format!("PLAINTEXT://0.0.0.0:{BROKER_PORT}"));
    set("advertised.listeners", &format!("PLAINTEXT://{}:{BROKER_PORT}", address_of(host)));
    set("log.dirs", DATA_DIR);
    for (name, value) in options {
        set(name, value);
    }
    settings.finish(&format!("host-{host}"), true).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })
}
