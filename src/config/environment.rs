//! Environment variables that set options: `KAFKA_NUM_PARTITIONS`, `OTTLA_NUM_PARTITIONS`.
//!
//! The rule of Kafka's container image: after the prefix, `_` is a dot, `__` an underscore, `___`
//! a dash. Other software sets variables with the prefix KAFKA, so a stranger there is only
//! warned of.

/// Variables of ours that are flags of the command line, not options.
const FLAGS: [&str; 9] = [
    "BROKERS",
    "CLUSTER_ID",
    "CONFIG",
    "DATA_DIR",
    "LISTEN",
    "LOG_FORMAT",
    "PORTS_FILE",
    "SHUTDOWN_GRACE",
    "STRICT_CONFIG",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Kafka,
    Ottla,
}

/// The option that a variable sets, if it sets one.
pub fn option_name(variable: &str) -> Option<(Prefix, String)> {
    if let Some(rest) = variable.strip_prefix("OTTLA_") {
        return (!rest.is_empty() && !FLAGS.contains(&rest)).then(|| (Prefix::Ottla, dotted(rest)));
    }
    let rest = variable.strip_prefix("KAFKA_")?;
    (!rest.is_empty() && !is_of_others(rest)).then(|| (Prefix::Kafka, dotted(rest)))
}

/// What Kafka's scripts read for the JVM, and what Kubernetes sets for a service named kafka.
fn is_of_others(rest: &str) -> bool {
    const STARTS: [&str; 8] =
        ["GC_LOG", "JMX_", "LOG4J", "SERVICE_", "PORT_", "DEBUG", "BOOTSTRAP_SERVERS", "CLASSPATH"];
    let whole = matches!(rest, "OPTS" | "HOME" | "VERSION" | "PORT" | "MODE");
    whole || rest.ends_with("_OPTS") || STARTS.iter().any(|start| rest.starts_with(start))
}

fn dotted(rest: &str) -> String {
    rest.to_ascii_lowercase()
        .replace("___", "-")
        .replace("__", "\0")
        .replace('_', ".")
        .replace('\0', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(variable: &str) -> Option<String> {
        option_name(variable).map(|(_, name)| name)
    }

    #[test]
    fn underscores_are_dots_underscores_and_dashes() {
        let named = |name: &str| Some((Prefix::Kafka, name.to_owned()));
        assert_eq!(option_name("KAFKA_LOG_RETENTION_MS"), named("log.retention.ms"));
        assert_eq!(option_name("KAFKA_A__B___C"), named("a_b-c"));
        let ours = Some((Prefix::Ottla, "node.id".to_owned()));
        assert_eq!(option_name("OTTLA_NODE_ID"), ours);
    }

    #[test]
    fn variables_of_others_are_let_alone() {
        for variable in [
            "PATH",
            "KAFKA_",
            "KAFKA_HEAP_OPTS",
            "KAFKA_OPTS",
            "KAFKA_LOG4J_LOGGERS",
            "KAFKA_SERVICE_HOST",
            "KAFKA_PORT_9092_TCP_ADDR",
            "OTTLA_LISTEN",
            "OTTLA_STRICT_CONFIG",
        ] {
            assert_eq!(name(variable), None, "{variable}");
        }
        assert_eq!(name("KAFKA_LOG_DIRS").unwrap(), "log.dirs");
    }
}
