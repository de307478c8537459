//! What the log says about things that this broker does not use yet: credentials, quotas, access
//! control, tokens. Each is one entry under its key, so that a snapshot writes it back and a
//! record that removes it finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::map::Map;
use crate::protocol::messages::access_control_entry_record::AccessControlEntryRecord;
use crate::protocol::messages::client_quota_record::ClientQuotaRecord;
use crate::protocol::messages::delegation_token_record::DelegationTokenRecord;
use crate::protocol::messages::user_scram_credential_record::UserScramCredentialRecord;
use crate::protocol::wire::reader::Reader;
use crate::protocol::wire::writer::Writer;
use crate::protocol::wire::{EncodeError, Message};
use crate::types::Uuid;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// By user and mechanism (1 SHA-256, 2 SHA-512).
    pub credentials: Map<(Arc<str>, i8), Arc<UserScramCredentialRecord>>,
    pub quotas: Map<QuotaEntity, Arc<BTreeMap<Arc<str>, Rate>>>,
    pub access: Map<Uuid, Arc<AccessControlEntryRecord>>,
    pub tokens: Map<Arc<str>, Arc<DelegationTokenRecord>>,
    /// Of a cluster that once moved here from ZooKeeper.
    pub zk_migration_state: Option<i8>,
}

/// Whom a quota is for: types ("user", "client-id", "ip") with names; `None` is the default one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaEntity(pub BTreeMap<Arc<str>, Option<Arc<str>>>);

/// Compared by its bits: what was written is what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub f64);

impl PartialEq for Rate {
    fn eq(&self, other: &Rate) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Rate {}

impl Kept {
    pub(super) fn set_quota(&mut self, record: &ClientQuotaRecord) {
        let name = |name: &str| Arc::<str>::from(name);
        let parts = record.entity.iter();
        let parts =
            parts.map(|part| (name(&part.entity_type), part.entity_name.as_deref().map(name)));
        let entity = QuotaEntity(parts.collect());
        let mut rates =
            self.quotas.get(&entity).map_or_else(BTreeMap::new, |held| (**held).clone());
        if record.remove {
            rates.remove(&*record.key);
        } else {
            rates.insert(name(&record.key), Rate(record.value));
        }
        if rates.is_empty() {
            self.quotas.remove(&entity);
        } else {
            self.quotas.insert(entity, Arc::new(rates));
        }
    }
}

/// A copy that shares no memory with the batch it came in.
pub(super) fn detached<M: Message>(message: &M) -> Result<Arc<M>, EncodeError> {
    let version = *M::VERSIONS.end();
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    let mut reader = Reader::new(writer.finish().to_bytes());
    let copy = M::decode(&mut reader, version).expect("what was just encoded reads back");
    Ok(Arc::new(copy))
}
