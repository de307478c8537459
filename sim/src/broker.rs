//! Boots the broker that production runs, on a simulated node.

use std::collections::BTreeMap;

use crate::env::SimEnv;

/// Runs until the node is killed. `Err` says why it stopped by itself.
pub async fn run(
    _env: SimEnv,
    _index: usize,
    _options: BTreeMap<String, String>,
) -> Result<(), String> {
    Err("the server is not part of this build yet".to_string())
}
