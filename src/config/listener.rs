//! Where the broker listens and what it tells clients to connect to.
//!
//! `localhost` means both loopback addresses, because clients try either first. An empty host is
//! every address; clients are then told this machine's name, as an address of "anywhere" is
//! nowhere to connect to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::broker::BrokerConfig;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// In upper case.
    pub listener: String,
    /// Without brackets. Empty: every address.
    pub host: String,
    /// 0 draws a free one.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Where clients are served.
    pub clients: Vec<Endpoint>,
    /// What they are told, one for each of `clients` that is advertised. Port 0 stands for the
    /// port that its listener was given.
    pub advertised: Vec<Endpoint>,
    /// Named by `controller.listener.names`.
    pub controllers: Vec<Endpoint>,
}

/// The addresses that a host stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The first must work, the others where the machine has them.
    Addresses(Vec<SocketAddr>),
    /// A name to look up.
    Name { host: String, port: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    #[error("{key}: {text:?} is not NAME://HOST:PORT, for example PLAINTEXT://localhost:9092")]
    Malformed { key: &'static str, text: String },
    #[error("{key}: the name {name} is there twice; each listener needs a name of its own")]
    Duplicate { key: &'static str, name: String },
    #[error(
        "listener {name} has security protocol {protocol}, and only PLAINTEXT is served so far"
    )]
    Protocol { name: String, protocol: String },
    #[error("listener {0} is not in listener.security.protocol.map: add {0}:PLAINTEXT there")]
    Unmapped(String),
    #[error("listener.security.protocol.map: {0:?} is not NAME:PROTOCOL")]
    BadMap(String),
    #[error("advertised.listeners names {0}, which listeners does not have")]
    NotListening(String),
    #[error("listeners has nothing for clients: add PLAINTEXT://localhost:9092")]
    NothingForClients,
    #[error("advertised.listeners: {host} is no address to connect to; name this machine")]
    Wildcard { host: String },
}

impl Endpoint {
    /// Reads `NAME://HOST:PORT`.
    pub fn parse(key: &'static str, text: &str) -> Result<Endpoint, ListenerError> {
        let malformed = || ListenerError::Malformed { key, text: text.to_owned() };
        let (listener, rest) = text.split_once("://").ok_or_else(malformed)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let port = port.parse().map_err(|_| malformed())?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if listener.is_empty() || !listener.chars().all(is_word) {
            return Err(malformed());
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => host.chars().all(is_word),
        };
        if !is_host {
            return Err(malformed());
        }
        let host = bare.unwrap_or(host).to_owned();
        Ok(Endpoint { listener: listener.to_ascii_uppercase(), host, port })
    }

    pub fn bind(&self) -> Bind {
        let at = |ip: IpAddr| SocketAddr::new(ip, self.port);
        let both = |v4: Ipv4Addr, v6: Ipv6Addr| Bind::Addresses(vec![at(v4.into()), at(v6.into())]);
        if self.host.is_empty() {
            both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
        } else if self.host.eq_ignore_ascii_case("localhost") {
            both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
        } else if let Ok(ip) = self.host.parse::<IpAddr>() {
            Bind::Addresses(vec![at(ip)])
        } else {
            Bind::Name { host: self.host.clone(), port: self.port }
        }
    }

    fn is_everywhere(&self) -> bool {
        self.host.is_empty() || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl Listeners {
    /// `machine` is the name that clients are told where a listener is on every address.
    pub fn of(config: &BrokerConfig, machine: &str) -> Result<Listeners, ListenerError> {
        let protocols = protocols(&config.listener_security_protocol_map)?;
        let controller_names: BTreeSet<String> =
            config.controller_listener_names.iter().map(|name| name.to_ascii_uppercase()).collect();
        let all = endpoints("listeners", &config.listeners)?;
        for endpoint in &all {
            let is_controller = controller_names.contains(&endpoint.listener);
            check_protocol(&endpoint.listener, is_controller, &protocols)?;
        }
        let (controllers, clients): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|endpoint| controller_names.contains(&endpoint.listener));
        if clients.is_empty() {
            return Err(ListenerError::NothingForClients);
        }
        let advertised = match &config.advertised_listeners {
            Some(texts) => told(texts, &clients, &controllers)?,
            None => clients.clone(),
        };
        let named = |endpoint: Endpoint| match endpoint.is_everywhere() {
            true => Endpoint { host: machine.to_owned(), ..endpoint },
            false => endpoint,
        };
        let advertised = advertised.into_iter().map(named).collect();
        Ok(Listeners { clients, advertised, controllers })
    }
}

/// The advertised listeners, without those of the controller.
fn told(
    texts: &[String],
    clients: &[Endpoint],
    controllers: &[Endpoint],
) -> Result<Vec<Endpoint>, ListenerError> {
    let mut told = endpoints("advertised.listeners", texts)?;
    let has = |endpoints: &[Endpoint], name: &str| endpoints.iter().any(|e| e.listener == name);
    told.retain(|endpoint| !has(controllers, &endpoint.listener));
    for endpoint in &told {
        if !has(clients, &endpoint.listener) {
            return Err(ListenerError::NotListening(endpoint.listener.clone()));
        }
        if endpoint.is_everywhere() && !endpoint.host.is_empty() {
            return Err(ListenerError::Wildcard { host: endpoint.host.clone() });
        }
    }
    if told.is_empty() { Ok(clients.to_vec()) } else { Ok(told) }
}

fn endpoints(key: &'static str, texts: &[String]) -> Result<Vec<Endpoint>, ListenerError> {
    let mut found: Vec<Endpoint> = Vec::new();
    for text in texts {
        let endpoint = Endpoint::parse(key, text)?;
        if found.iter().any(|other| other.listener == endpoint.listener) {
            return Err(ListenerError::Duplicate { key, name: endpoint.listener });
        }
        found.push(endpoint);
    }
    Ok(found)
}

fn protocols(map: &str) -> Result<BTreeMap<String, String>, ListenerError> {
    let mut protocols = BTreeMap::new();
    for item in super::option::split_list(map) {
        let (name, protocol) =
            item.split_once(':').ok_or_else(|| ListenerError::BadMap(item.to_owned()))?;
        protocols.insert(name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase());
    }
    Ok(protocols)
}

/// A controller's listener that the map leaves out is PLAINTEXT, as in Kafka.
fn check_protocol(
    name: &str,
    is_controller: bool,
    protocols: &BTreeMap<String, String>,
) -> Result<(), ListenerError> {
    match protocols.get(name).map(String::as_str) {
        Some("PLAINTEXT") => Ok(()),
        None if is_controller => Ok(()),
        None => Err(ListenerError::Unmapped(name.to_owned())),
        Some(protocol) => {
            let (name, protocol) = (name.to_owned(), protocol.to_owned());
            Err(ListenerError::Protocol { name, protocol })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listeners: &str, advertised: Option<&str>) -> BrokerConfig {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        BrokerConfig {
            listeners: list(listeners),
            advertised_listeners: advertised.map(list),
            ..BrokerConfig::default()
        }
    }

    fn endpoint(listener: &str, host: &str, port: u16) -> Endpoint {
        Endpoint { listener: listener.to_owned(), host: host.to_owned(), port }
    }

    fn refusal(listeners: &str, advertised: Option<&str>) -> String {
        Listeners::of(&config(listeners, advertised), "here").unwrap_err().to_string()
    }

    #[test]
    fn by_default_both_loopback_addresses_are_served() {
        let listeners = Listeners::of(&BrokerConfig::default(), "here").unwrap();
        assert_eq!(listeners.clients, [endpoint("PLAINTEXT", "localhost", 9092)]);
        assert_eq!(listeners.advertised, listeners.clients);
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(
            listeners.clients[0].bind(),
            Bind::Addresses(vec![at("127.0.0.1:9092"), at("[::1]:9092")])
        );
    }

    #[test]
    fn hosts_are_names_addresses_or_everything() {
        let parse = |text| Endpoint::parse("listeners", text);
        assert_eq!(parse("PLAINTEXT://:1"), Ok(endpoint("PLAINTEXT", "", 1)));
        assert_eq!(parse("plaintext://[::1]:1"), Ok(endpoint("PLAINTEXT", "::1", 1)));
        assert_eq!(parse("A://node-1.x:0"), Ok(endpoint("A", "node-1.x", 0)));
        for text in ["", "localhost:1", "A://b", "A://b:70000", "A://[b]:1", "://b:1", "A://::1:1"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        let named = Bind::Name { host: "b".to_owned(), port: 1 };
        assert_eq!(endpoint("A", "b", 1).bind(), named);
    }

    #[test]
    fn a_stock_configuration_of_a_combined_node_is_understood() {
        let text = "PLAINTEXT://:9092,CONTROLLER://:9093";
        let told = "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093";
        let listeners = Listeners::of(&config(text, Some(told)), "here").unwrap();
        assert_eq!(listeners.clients, [endpoint("PLAINTEXT", "", 9092)]);
        assert_eq!(listeners.controllers, [endpoint("CONTROLLER", "", 9093)]);
        assert_eq!(listeners.advertised, [endpoint("PLAINTEXT", "localhost", 9092)]);
    }

    #[test]
    fn clients_are_never_told_to_connect_to_everywhere() {
        for text in ["PLAINTEXT://:9092", "PLAINTEXT://0.0.0.0:9092", "PLAINTEXT://[::]:9092"] {
            let listeners = Listeners::of(&config(text, None), "here").unwrap();
            assert_eq!(listeners.advertised, [endpoint("PLAINTEXT", "here", 9092)]);
        }
        assert!(refusal("PLAINTEXT://:1", Some("PLAINTEXT://0.0.0.0:1")).contains("no address"));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        assert!(refusal("SSL://:9093", None).contains("only PLAINTEXT is served"));
        assert!(refusal("INSIDE://:9093", None).contains("add INSIDE:PLAINTEXT"));
        assert!(refusal("PLAINTEXT://:1,PLAINTEXT://:2", None).contains("there twice"));
        assert!(refusal("CONTROLLER://:1", None).contains("nothing for clients"));
        assert!(refusal("PLAINTEXT://:1", Some("OTHER://a:1")).contains("names OTHER"));
    }
}
