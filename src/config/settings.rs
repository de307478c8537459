//! From text to a configuration: what files, environment and command line set, gathered in rising
//! order of strength, then checked as a whole. Every problem is reported, not only the first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::broker::{BROKER_OPTIONS, BrokerConfig};
use super::environment::{Prefix, option_name};
use super::layers::{ConfigError, Layers, Origin, Setting};
use super::listener::{ListenerError, Listeners};
use super::option::find;
use super::properties::{self, BadEscape};
use super::reference::{Lookup, ReferenceError, expand};
use super::suggest;
use super::toml_text::{self, TomlError};
use super::unhonoured;
use super::unit::Unit;

#[derive(Clone, Debug, Default)]
pub struct Settings {
    fixed: BTreeMap<String, Setting>,
}

/// All that a broker needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Start {
    pub layers: Layers,
    pub config: BrokerConfig,
    pub listeners: Listeners,
    /// For the log: what was set and is not honoured.
    pub warnings: Vec<String>,
    pub cluster: Cluster,
    /// How long a clean stop may take.
    pub shutdown_grace: Duration,
}

/// The cluster that a node is to belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cluster {
    /// That of its data directories; a new one where they are new.
    #[default]
    Found,
    /// The same, with the id of a new one.
    FoundOrNew(String),
    /// This one; directories of another are refused.
    Only(String),
}

const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{path}: {error}")]
    Properties { path: String, error: BadEscape },
    #[error("{path}: {error}")]
    Toml { path: String, error: TomlError },
    #[error("{name} (set by {origin}): {error}")]
    Reference { name: String, origin: Origin, error: ReferenceError },
    #[error("{name}={value} (set by {origin}): {problem}")]
    Unit { name: String, value: String, origin: Origin, problem: String },
    #[error("-D {0:?} is not KEY=VALUE, for example -D num.partitions=3")]
    Assignment(String),
    #[error("unknown option {name} (set by {origin}){hint}")]
    Unknown { name: String, origin: Origin, hint: String },
    #[error(
        "{name}={value} (set by {origin}) cannot be honoured: {why}; remove it to start without"
    )]
    Refused { name: String, value: String, origin: Origin, why: &'static str },
    #[error(transparent)]
    Value(#[from] ConfigError),
    #[error(transparent)]
    Listener(#[from] ListenerError),
    #[error("process.roles={0}: a single node is both, write broker,controller")]
    Roles(String),
}

impl Settings {
    /// A later call wins over an earlier one.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) {
        self.fixed.insert(name.to_owned(), Setting { value: value.to_owned(), origin });
    }

    /// The text of a `server.properties`.
    pub fn add_properties(
        &mut self,
        path: &str,
        text: &str,
        lookup: &mut Lookup<'_>,
    ) -> Result<(), SettingsError> {
        let found = properties::parse(text)
            .map_err(|error| SettingsError::Properties { path: path.to_owned(), error })?;
        for property in found {
            let origin = Origin::File { path: path.to_owned(), line: Some(property.line) };
            self.set_expanded(&property.key, &property.value, origin, lookup)?;
        }
        Ok(())
    }

    /// The text of an `ottla.toml`.
    pub fn add_toml(
        &mut self,
        path: &str,
        text: &str,
        lookup: &mut Lookup<'_>,
    ) -> Result<(), SettingsError> {
        let found = toml_text::parse(text)
            .map_err(|error| SettingsError::Toml { path: path.to_owned(), error })?;
        for (name, value) in found {
            let origin = Origin::File { path: path.to_owned(), line: None };
            self.set_expanded(&name, &value, origin, lookup)?;
        }
        Ok(())
    }

    fn set_expanded(
        &mut self,
        name: &str,
        value: &str,
        origin: Origin,
        lookup: &mut Lookup<'_>,
    ) -> Result<(), SettingsError> {
        let value = expand(value, lookup).map_err(|error| SettingsError::Reference {
            name: name.to_owned(),
            origin: origin.clone(),
            error,
        })?;
        self.set(name, &value, origin);
        Ok(())
    }

    /// Of two variables for one option, ours wins over Kafka's.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut named: Vec<_> = variables
            .into_iter()
            .filter_map(|(variable, value)| {
                let (prefix, name) = option_name(&variable)?;
                Some((prefix == Prefix::Ottla, name, variable, value))
            })
            .collect();
        named.sort();
        for (_, name, variable, value) in named {
            self.set(&name, &value, Origin::Environment { variable });
        }
    }

    /// `KEY=VALUE` of a `-D`.
    pub fn add_assignment(&mut self, text: &str) -> Result<(), SettingsError> {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty())
            .ok_or_else(|| SettingsError::Assignment(text.to_owned()))?;
        self.set(name.trim(), value, Origin::CommandLine);
        Ok(())
    }

    /// Checks everything. `machine` is the name of this host; `strict` refuses unknown keys.
    pub fn finish(mut self, machine: &str, strict: bool) -> Result<Start, Vec<SettingsError>> {
        self.take_broker_id();
        let (mut warnings, mut errors) = (Vec::new(), self.take_units());
        for (name, setting) in &self.fixed {
            match judge(name, setting) {
                Ok(None) => {}
                Ok(Some(warning)) => warnings.push(warning),
                Err(error) if error.is_fatal(strict) => errors.push(error),
                Err(error) => warnings.push(format!("{error}; it changes nothing")),
            }
        }
        let layers = Layers::new(self.fixed);
        errors.extend(
            BROKER_OPTIONS.iter().filter_map(|o| layers.effective(o).err()).map(Into::into),
        );
        match start(layers, machine, warnings) {
            Ok(start) if errors.is_empty() => Ok(start),
            Err(error) if !matches!(error, SettingsError::Value(_)) => {
                errors.push(error);
                Err(errors)
            }
            _ => Err(errors),
        }
    }

    /// `broker.id` is the old name of `node.id`; -1 asked Kafka to draw one.
    fn take_broker_id(&mut self) {
        if let Some(setting) = self.fixed.remove("broker.id")
            && setting.value.trim() != "-1"
        {
            self.fixed.entry("node.id".to_owned()).or_insert(setting);
        }
    }
}

impl Settings {
    /// Makes numbers of values with units. What cannot be one is taken out, and told.
    fn take_units(&mut self) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        self.fixed.retain(|name, setting| {
            let Some(unit) = find(BROKER_OPTIONS, name).and_then(Unit::of) else { return true };
            match unit.number(&setting.value) {
                Ok(None) => true,
                Ok(Some(number)) => {
                    setting.value = number.to_string();
                    true
                }
                Err(problem) => {
                    let Setting { value, origin } = setting.clone();
                    errors.push(SettingsError::Unit { name: name.clone(), value, origin, problem });
                    false
                }
            }
        });
        errors
    }
}

impl SettingsError {
    /// Strangers are fatal when that is wished, except among the variables that begin with KAFKA:
    /// other software sets those.
    fn is_fatal(&self, strict: bool) -> bool {
        match self {
            SettingsError::Unknown { origin: Origin::Environment { variable }, .. } => {
                strict && !variable.starts_with("KAFKA_")
            }
            SettingsError::Unknown { .. } => strict,
            _ => true,
        }
    }
}

fn start(layers: Layers, machine: &str, warnings: Vec<String>) -> Result<Start, SettingsError> {
    let config = BrokerConfig::resolve(&layers)?;
    let has = |role: &str| config.process_roles.iter().any(|given| given == role);
    if config.process_roles.len() != 2 || !has("broker") || !has("controller") {
        return Err(SettingsError::Roles(config.process_roles.join(",")));
    }
    let listeners = Listeners::of(&config, machine)?;
    let (cluster, shutdown_grace) = (Cluster::default(), SHUTDOWN_GRACE);
    Ok(Start { layers, config, listeners, warnings, cluster, shutdown_grace })
}

/// What to say of one setting: nothing, a warning, or an error.
fn judge(name: &str, setting: &Setting) -> Result<Option<String>, SettingsError> {
    if find(BROKER_OPTIONS, name).is_some() {
        return Ok(None);
    }
    let Setting { value, origin } = setting;
    let (name, origin) = (name.to_owned(), origin.clone());
    match unhonoured::find(&name) {
        Some(key) if key.is_refused(value) => {
            Err(SettingsError::Refused { name, value: value.clone(), origin, why: key.why })
        }
        Some(key) => Ok(Some(format!("{name} (set by {origin}) changes nothing: {}", key.why))),
        None => {
            let hint = match suggest::nearest(&name) {
                Some(known) => format!(": did you mean {known}?"),
                None => ": docs/configuration.md lists all".to_owned(),
            };
            Err(SettingsError::Unknown { name, origin, hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::Reference;
    use super::*;

    fn nowhere(_: Reference<'_>) -> Result<String, String> {
        Err("not there".to_owned())
    }

    fn variable(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_stronger_layer_wins_over_a_weaker_one() {
        let mut settings = Settings::default();
        let count = |settings: &Settings| {
            settings.clone().finish("here", true).unwrap().config.num_partitions
        };
        assert_eq!(count(&settings), 1);
        settings.add_properties("a.properties", "num.partitions=2", &mut nowhere).unwrap();
        assert_eq!(count(&settings), 2);
        settings.add_environment([
            variable("OTTLA_NUM_PARTITIONS", "4"),
            variable("KAFKA_NUM_PARTITIONS", "3"),
        ]);
        assert_eq!(count(&settings), 4, "ours wins over Kafka's");
        settings.add_assignment("num.partitions=5").unwrap();
        assert_eq!(count(&settings), 5);
    }

    #[test]
    fn every_problem_is_reported() {
        let mut settings = Settings::default();
        let text = "num.partitions=0\nlog.segment.bytes=x\nauthorizer.class.name=A\n";
        settings.add_properties("a.properties", text, &mut nowhere).unwrap();
        settings.add_assignment("process.roles=broker").unwrap();
        let errors: Vec<_> = settings
            .finish("here", false)
            .unwrap_err()
            .iter()
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("authorizer.class.name=A (set by a.properties line 3)"));
        assert!(errors[1].contains("num.partitions: Value must be at least 1"));
        assert!(errors[2].contains("log.segment.bytes: Not a number of type INT"));
    }

    #[test]
    fn values_may_name_their_units_wherever_they_are_set() {
        let mut settings = Settings::default();
        let toml = "log.retention.ms = \"7d\"\nlog.segment.bytes = \"1GiB\"";
        settings.add_toml("o.toml", toml, &mut nowhere).unwrap();
        let properties = "log.roll.ms=90min";
        settings.add_properties("a.properties", properties, &mut nowhere).unwrap();
        settings.add_environment([variable("KAFKA_SOCKET_REQUEST_MAX_BYTES", "64MiB")]);
        settings.add_assignment("connections.max.idle.ms=10 s").unwrap();
        let Start { config, layers, .. } = settings.finish("here", true).unwrap();
        assert_eq!(config.log_retention_ms, Some(604_800_000));
        assert_eq!(config.log_segment_bytes, 1 << 30);
        assert_eq!(config.log_roll_ms, Some(5_400_000));
        assert_eq!(config.socket_request_max_bytes, 64 << 20);
        assert_eq!(config.connections_max_idle_ms, 10_000);
        let told = &layers.fixed("log.retention.ms").unwrap().value;
        assert_eq!(told, "604800000", "DescribeConfigs answers numbers");
    }

    #[test]
    fn a_unit_that_does_not_fit_is_refused_with_its_place() {
        let mut settings = Settings::default();
        let toml = "log.retention.ms = \"5m\"\nlog.segment.bytes = \"4GiB\"";
        settings.add_toml("o.toml", toml, &mut nowhere).unwrap();
        settings.add_assignment("num.partitions=3s").unwrap();
        let errors = settings.finish("here", true).unwrap_err();
        let errors: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
        let expected =
            "log.retention.ms=5m (set by o.toml): m may be minutes or months: write 5min";
        assert_eq!(errors[0], expected);
        let rest = errors[1..].join("\n");
        assert!(rest.contains("4294967296 for configuration log.segment.bytes"), "{rest}");
        assert!(rest.contains("3s for configuration num.partitions: Not a number"), "{rest}");
    }

    #[test]
    fn unknown_keys_are_warned_of_or_refused() {
        let mut settings = Settings::default();
        settings.add_assignment("num.partition=3").unwrap();
        settings.add_assignment("num.network.threads=3").unwrap();
        let warnings = settings.clone().finish("here", false).unwrap().warnings;
        assert_eq!(warnings.len(), 2);
        assert!(warnings[1].contains("did you mean num.partitions?"), "{warnings:?}");
        let errors = settings.finish("here", true).unwrap_err();
        assert_eq!(errors.len(), 1, "a known key of Kafka is only noticed: {errors:?}");

        let mut settings = Settings::default();
        settings.add_environment([variable("KAFKA_CLUSTER_NAME", "x")]);
        assert!(settings.clone().finish("here", true).is_ok());
        settings.add_environment([variable("OTTLA_CLUSTER_NAME", "x")]);
        assert!(settings.finish("here", true).is_err());
    }

    #[test]
    fn the_old_name_of_the_node_id_still_works() {
        let mut settings = Settings::default();
        settings.add_assignment("broker.id=7").unwrap();
        assert_eq!(settings.clone().finish("here", true).unwrap().config.node_id, 7);
        settings.add_assignment("node.id=8").unwrap();
        assert_eq!(settings.clone().finish("here", true).unwrap().config.node_id, 8);
        settings.add_assignment("broker.id=-1").unwrap();
        assert_eq!(settings.finish("here", true).unwrap().config.node_id, 8);
    }

    #[test]
    fn a_single_node_must_be_both() {
        let mut settings = Settings::default();
        settings.add_assignment("process.roles=broker").unwrap();
        let errors = settings.finish("here", true).unwrap_err();
        assert!(errors[0].to_string().contains("write broker,controller"));
    }

    #[test]
    fn references_and_assignments_say_what_is_wrong() {
        let mut settings = Settings::default();
        let error =
            settings.add_toml("o.toml", "log.dir = \"${env:X}\"", &mut nowhere).unwrap_err();
        assert_eq!(error.to_string(), "log.dir (set by o.toml): ${env:X}: not there");
        for text in ["num.partitions", "=3", ""] {
            assert!(settings.add_assignment(text).is_err(), "{text:?}");
        }
    }
}
