//! Keys that Kafka knows and this broker does not honour, and what we say when one is set.
//!
//! Most are only noticed in one line. A key whose silence would be dangerous (access control that
//! would not be enforced, a quorum that would not be joined) stops the start instead.

#[derive(Debug)]
pub struct Unhonoured {
    /// A name, or a prefix that ends in `*`.
    pub pattern: &'static str,
    pub why: &'static str,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Say so and go on.
    Notice,
    /// Refuse to start, unless the value is this one, which asks for nothing.
    RefuseUnless(&'static str),
    /// Refuse to start when the list names more than one.
    RefuseMany,
}

use Verdict::{Notice, RefuseMany, RefuseUnless};

const fn key(pattern: &'static str, why: &'static str) -> Unhonoured {
    Unhonoured { pattern, why, verdict: Notice }
}

const fn refused(pattern: &'static str, verdict: Verdict, why: &'static str) -> Unhonoured {
    Unhonoured { pattern, why, verdict }
}

const NO_ACL: &str = "there is no access control yet, everybody may do everything";
const NO_COMPACTION: &str = "nothing is compacted yet";
const NO_GROUPS: &str = "there are no consumer groups yet";
const NO_JVM: &str = "there is no JVM here: threads and buffers look after themselves";
const NO_PLUGINS: &str = "there are no Java plug-ins here";
const NO_QUOTAS: &str = "there are no quotas yet";
const NO_SASL: &str = "there is no SASL yet";
const NO_SHARE_GROUPS: &str = "there are no share groups yet";
const NO_TIERS: &str = "there is no tiered storage";
const NO_TLS: &str = "there is no TLS yet";
const NO_TOKENS: &str = "there are no delegation tokens yet";
const NO_TRANSACTIONS: &str = "there are no transactions yet";
const ONE_NODE: &str = "this broker is its own cluster so far";
const REMOVED: &str = "newer Kafka versions have removed it, too";

/// Names stand before the prefixes that cover them.
pub const UNHONOURED: &[Unhonoured] = &[
    refused("alter.config.policy.class.name", RefuseUnless(""), NO_PLUGINS),
    refused("authorizer.class.name", RefuseUnless(""), NO_ACL),
    refused("client.quota.callback.class", RefuseUnless(""), NO_PLUGINS),
    refused("controller.quorum.bootstrap.servers", RefuseMany, ONE_NODE),
    refused("controller.quorum.voters", RefuseMany, ONE_NODE),
    refused("create.topic.policy.class.name", RefuseUnless(""), NO_PLUGINS),
    refused("remote.log.storage.system.enable", RefuseUnless("false"), NO_TIERS),
    key("add.partitions.to.txn.*", NO_TRANSACTIONS),
    key("allow.everyone.if.no.acl.found", NO_ACL),
    key("alter.log.dirs.replication.quota.*", NO_QUOTAS),
    key("auto.leader.rebalance.enable", ONE_NODE),
    key("auto.include.jmx.reporter", NO_JVM),
    key("background.threads", NO_JVM),
    key("broker.heartbeat.interval.ms", ONE_NODE),
    key("broker.id.generation.enable", REMOVED),
    key("broker.session.timeout.ms", ONE_NODE),
    key("compression.lz4.level", "lz4 has one level here"),
    key("config.providers*", "${env:NAME} and ${file:path:key} work without being named"),
    key("connection.failed.authentication.delay.ms", NO_SASL),
    key("connections.max.reauth.ms", NO_SASL),
    key("controlled.shutdown.*", ONE_NODE),
    key("controller.performance.*", NO_JVM),
    key("controller.quorum.*", ONE_NODE),
    key("controller.quota.*", NO_QUOTAS),
    key("controller.socket.timeout.ms", ONE_NODE),
    key("cordoned.log.dirs", "new partitions go to every data directory"),
    key("delegation.token.*", NO_TOKENS),
    key("delete.records.purgatory.purge.interval.requests", NO_JVM),
    key("early.start.listeners", ONE_NODE),
    key("errors.deadletterqueue.*", NO_SHARE_GROUPS),
    key("fetch.purgatory.purge.interval.requests", NO_JVM),
    key("follower.*", ONE_NODE),
    key("group.share.*", NO_SHARE_GROUPS),
    key("group.*", NO_GROUPS),
    key("initial.broker.registration.timeout.ms", ONE_NODE),
    key("inter.broker.listener.name", ONE_NODE),
    key("inter.broker.protocol.version", REMOVED),
    key("kafka.metrics.*", NO_PLUGINS),
    key("leader.*", ONE_NODE),
    key("listener.name.*", "options of one listener alone are not honoured yet"),
    key("log.cleaner.*", NO_COMPACTION),
    key("log.dir.failure.timeout.ms", ONE_NODE),
    key(
        "log.flush.start.offset.checkpoint.interval.ms",
        "start offsets are written with the recovery points",
    ),
    key("log.initial.task.delay.ms", "background work starts at once"),
    key("log.local.retention.*", NO_TIERS),
    key("log.message.downconversion.enable", REMOVED),
    key("log.message.format.version", REMOVED),
    key("log.message.timestamp.difference.max.ms", REMOVED),
    key("log.preallocate", "files grow as they are written"),
    key("log.remote.*", NO_TIERS),
    key("max.connection.creation.rate", NO_QUOTAS),
    key("metadata.max.idle.interval.ms", ONE_NODE),
    key("metric.reporters", NO_PLUGINS),
    key("metrics.*", NO_PLUGINS),
    key("num.io.threads", NO_JVM),
    key("num.network.threads", NO_JVM),
    key("num.replica.*", ONE_NODE),
    key("offset.metadata.max.bytes", NO_GROUPS),
    key("offsets.*", NO_GROUPS),
    key("principal.builder.class", NO_PLUGINS),
    key(
        "producer.id.expiration.check.interval.ms",
        "expired producers are looked for every 10 minutes",
    ),
    key("producer.purgatory.purge.interval.requests", NO_JVM),
    key("queued.max.requests", "requests are bounded by their bytes: queued.max.request.bytes"),
    key("quota.*", NO_QUOTAS),
    key("remote.*", NO_TIERS),
    key("replica.fetch.*", ONE_NODE),
    key("replica.lag.*", ONE_NODE),
    key("replica.selector.class", ONE_NODE),
    key("replica.socket.*", ONE_NODE),
    key("replication.quota.*", NO_QUOTAS),
    key("request.timeout.ms", ONE_NODE),
    key("reserved.broker.max.id", REMOVED),
    key("rlmm.config.*", NO_TIERS),
    key("rsm.config.*", NO_TIERS),
    key("sasl.*", NO_SASL),
    key("security.inter.broker.protocol", ONE_NODE),
    key("security.providers", NO_PLUGINS),
    key("server.max.startup.time.ms", "a start takes as long as its recovery"),
    key("share.*", NO_SHARE_GROUPS),
    key("socket.connection.setup.timeout.*", ONE_NODE),
    key("socket.listen.backlog.size", "it is always at least 1024"),
    key("socket.receive.buffer.bytes", "the system sizes the buffers of connections"),
    key("socket.send.buffer.bytes", "the system sizes the buffers of connections"),
    key("ssl.*", NO_TLS),
    key("super.users", NO_ACL),
    key("telemetry.max.bytes", "client metrics are not taken yet"),
    key("transaction.*", NO_TRANSACTIONS),
    key("transactional.id.expiration.ms", NO_TRANSACTIONS),
    key("unclean.leader.election.*", ONE_NODE),
    key("unstable.*", "only what works is offered"),
    key("zookeeper.*", "there is no ZooKeeper"),
];

/// What we know of `name`, if it is a key of Kafka that we do not honour.
pub fn find(name: &str) -> Option<&'static Unhonoured> {
    UNHONOURED.iter().find(|key| key.covers(name))
}

impl Unhonoured {
    fn covers(&self, name: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.pattern,
        }
    }

    /// Whether setting it to `value` must stop the start.
    pub fn is_refused(&self, value: &str) -> bool {
        match self.verdict {
            Notice => false,
            RefuseUnless(harmless) => !value.trim().eq_ignore_ascii_case(harmless),
            RefuseMany => value.contains(','),
        }
    }

    /// Whether the values under this pattern may be passwords or keys.
    pub fn is_secret(&self) -> bool {
        const SECRET: [&str; 7] =
            ["config.", "delegation", "listener.", "rlmm", "rsm", "sasl", "ssl"];
        SECRET.iter().any(|start| self.pattern.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::super::broker::BROKER_OPTIONS;
    use super::*;

    #[test]
    fn no_key_is_both_honoured_and_not() {
        for option in BROKER_OPTIONS {
            assert!(find(option.name).is_none(), "{} is in both tables", option.name);
        }
    }

    #[test]
    fn every_name_stands_before_the_prefixes_that_cover_it() {
        for (i, key) in UNHONOURED.iter().enumerate() {
            let name = key.pattern.trim_end_matches('*');
            let first = UNHONOURED.iter().position(|other| other.covers(name));
            assert_eq!(first, Some(i), "{} is never reached", key.pattern);
        }
    }

    #[test]
    fn what_would_be_dangerous_to_ignore_is_refused() {
        let refused = |name, value| find(name).unwrap().is_refused(value);
        assert!(refused("authorizer.class.name", "org.example.Authorizer"));
        assert!(!refused("authorizer.class.name", ""));
        assert!(refused("controller.quorum.voters", "1@a:9093,2@b:9093"));
        assert!(!refused("controller.quorum.voters", "1@localhost:9093"));
        assert!(!refused("num.network.threads", "3"));
    }
}
