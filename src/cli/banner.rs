//! What a terminal shows when the broker is ready: what listens where, where the data is, and a
//! line to try.

use ottla::server::node::Ready;

/// The banner, without a final line break.
pub fn banner(ready: &Ready, data_dirs: &[String]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let state = if ready.is_fresh { "fresh" } else { "kept" };
    let first = ready.advertised.first().map_or("localhost:9092", String::as_str);
    format!(
        "ottla {version}  single node  cluster {}  data {} ({state})\n  kafka  {}\n  try    kcat -b {first} -L",
        ready.cluster_id,
        data_dirs.join(","),
        ready.advertised.join("  "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_listens_where_and_what_to_try() {
        let ready = Ready {
            cluster_id: "Qz3abcdefghijklmnopqrs".to_owned(),
            is_fresh: true,
            bound: vec![],
            advertised: vec!["localhost:9092".to_owned()],
        };
        let text = banner(&ready, &["./data".to_owned()]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("cluster Qz3abcdefghijklmnopqrs  data ./data (fresh)"));
        assert_eq!(lines[1..], ["  kafka  localhost:9092", "  try    kcat -b localhost:9092 -L"]);
    }
}
