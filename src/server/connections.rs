//! How many connections there are, in all and per address, and who may come in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::config::broker::BrokerConfig;

/// Counts open connections; clones share the count.
#[derive(Clone, Default)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    open: Mutex<Open>,
    closed: Notify,
}

#[derive(Default)]
struct Open {
    total: usize,
    per_ip: BTreeMap<IpAddr, usize>,
}

/// An open connection; counted until dropped.
pub struct Place {
    connections: Connections,
    ip: IpAddr,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("{0} connections are open, as many as max.connections allows")]
    Total(usize),
    #[error("{0} connections from this address are open, as many as max.connections.per.ip allows")]
    PerIp(usize),
}

impl Connections {
    /// Lets one more in, if the options as they stand allow it (`max.connections` and its kin).
    pub fn enter(&self, ip: IpAddr, config: &BrokerConfig) -> Result<Place, Full> {
        let overrides = &config.max_connections_per_ip_overrides.0;
        let per_ip_max = overrides.get(&ip).copied().unwrap_or(config.max_connections_per_ip);
        let per_ip_max = per_ip_max.max(0) as usize;
        let mut open = self.shared.open();
        if open.total >= config.max_connections.max(0) as usize {
            return Err(Full::Total(open.total));
        }
        let from_ip = open.per_ip.entry(ip).or_default();
        if *from_ip >= per_ip_max {
            return Err(Full::PerIp(per_ip_max));
        }
        *from_ip += 1;
        open.total += 1;
        Ok(Place { connections: self.clone(), ip })
    }

    /// Returns once no connection is open.
    pub async fn all_closed(&self) {
        loop {
            let mut closed = std::pin::pin!(self.shared.closed.notified());
            closed.as_mut().enable();
            if self.shared.open().total == 0 {
                return;
            }
            closed.await;
        }
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().expect("nobody panics while counting")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.connections.shared;
        let mut open = shared.open();
        open.total -= 1;
        let from_ip = open.per_ip.get_mut(&self.ip).expect("counted when it came in");
        *from_ip -= 1;
        if *from_ip == 0 {
            open.per_ip.remove(&self.ip);
        }
        if open.total == 0 {
            shared.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::ConnectionLimits;

    fn config() -> BrokerConfig {
        let favoured = IpAddr::from([10, 0, 0, 9]);
        BrokerConfig {
            max_connections: 4,
            max_connections_per_ip: 2,
            max_connections_per_ip_overrides: ConnectionLimits(BTreeMap::from([(favoured, 3)])),
            ..BrokerConfig::default()
        }
    }

    #[test]
    fn holds_each_address_to_its_limit() {
        let (connections, config) = (Connections::default(), config());
        let ip = IpAddr::from([10, 0, 0, 1]);
        let first = connections.enter(ip, &config).unwrap();
        let _second = connections.enter(ip, &config).unwrap();
        assert_eq!(connections.enter(ip, &config).err(), Some(Full::PerIp(2)));
        drop(first);
        assert!(connections.enter(ip, &config).is_ok());
    }

    #[test]
    fn holds_all_together_to_their_limit() {
        let (connections, config) = (Connections::default(), config());
        let favoured = IpAddr::from([10, 0, 0, 9]);
        let _three: Vec<_> =
            (0..3).map(|_| connections.enter(favoured, &config).unwrap()).collect();
        let _fourth = connections.enter(IpAddr::from([10, 0, 0, 1]), &config).unwrap();
        assert_eq!(
            connections.enter(IpAddr::from([10, 0, 0, 2]), &config).err(),
            Some(Full::Total(4))
        );
    }
}
