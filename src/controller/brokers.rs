//! Brokers come, serve and go.
//!
//! Every start of a broker is a new incarnation with a new epoch, the offset of its registration.
//! It begins fenced: it leads nothing until its logs are open. What it led before gets a new leader
//! epoch by that, so that "epoch and offset" names one record for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::controller::features::{self, Unsupported};
use crate::controller::leaders::{Change, Election};
use crate::controller::operation::{Context, Decided};
use crate::metadata::image::{Broker, ControllerNode, Endpoint, FeatureRange, Image};
use crate::metadata::record::{controller_record, register_record};
use crate::metadata::topic::{Partition, Topic};
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use crate::types::{BrokerEpoch, NodeId, Uuid};

#[cfg(test)]
mod tests;

#[derive(Clone, Debug)]
pub struct Registration {
    pub id: NodeId,
    /// Drawn anew by every start of the process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<Arc<str>>,
    pub directories: Vec<Uuid>,
    /// The epoch that the broker noted when it stopped cleanly. `None` after a crash.
    pub stopped_in: Option<BrokerEpoch>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("log directory id {id} is reserved or given twice")]
    Directory { id: Uuid },
    #[error("log directory id {id} belongs to broker {}", owner.0)]
    DirectoryTaken { id: Uuid, owner: NodeId },
    #[error("broker {} is not registered in epoch {}", id.0, epoch.0)]
    StaleEpoch { id: NodeId, epoch: BrokerEpoch },
}

/// A broker started. The same incarnation again keeps its epoch.
pub fn register(
    context: &mut Context<'_>,
    registration: &Registration,
) -> Decided<Result<BrokerEpoch, RegistrationError>> {
    if let Err(error) = check(context.image, registration) {
        return Decided { records: vec![], response: Err(error) };
    }
    let before = context.image.broker(registration.id);
    let known = before.filter(|broker| broker.incarnation == registration.incarnation);
    let epoch = known.map_or(BrokerEpoch(context.next.0), |known| known.epoch);
    let broker = Broker {
        id: registration.id,
        epoch,
        incarnation: registration.incarnation,
        endpoints: registration.endpoints.clone(),
        features: features::supported(),
        rack: registration.rack.clone(),
        fenced: known.is_none_or(|known| known.fenced),
        in_controlled_shutdown: known.is_some_and(|known| known.in_controlled_shutdown),
        is_migrating_zk: false,
        directories: registration.directories.clone(),
        cordoned_directories: Some(vec![]),
    };
    let mut records: Vec<MetadataRecord> = vec![register_record(&broker).into()];
    if known.is_none() {
        let clean = before.is_some_and(|before| Some(before.epoch) == registration.stopped_in);
        take_out(context, registration.id, clean, &mut records);
    }
    Decided { records, response: Ok(epoch) }
}

fn check(image: &Image, registration: &Registration) -> Result<(), RegistrationError> {
    features::check(image)?;
    let mut seen = BTreeMap::new();
    for &id in &registration.directories {
        if id.is_reserved() || seen.insert(id, ()).is_some() {
            return Err(RegistrationError::Directory { id });
        }
        let others = image.brokers.values().filter(|broker| broker.id != registration.id);
        if let Some(owner) = others.into_iter().find(|broker| broker.directories.contains(&id)) {
            return Err(RegistrationError::DirectoryTaken { id, owner: owner.id });
        }
    }
    Ok(())
}

/// The broker has opened its logs and followed the metadata up to its registration.
pub fn unfence(
    context: &mut Context<'_>,
    id: NodeId,
    epoch: BrokerEpoch,
) -> Decided<Result<(), RegistrationError>> {
    let registered = context.image.broker(id).filter(|broker| broker.epoch == epoch);
    let Some(broker) = registered else {
        let error = RegistrationError::StaleEpoch { id, epoch };
        return Decided { records: vec![], response: Err(error) };
    };
    if !broker.fenced {
        return Decided { records: vec![], response: Ok(()) };
    }
    let mut records: Vec<MetadataRecord> = vec![fencing_record(broker, -1).into()];
    let acceptable = |other| other == id || is_active(context.image, other);
    for_each_partition(context.image, |topic, index, partition| {
        if partition.leader.is_none() && partition.replicas.contains(&id) {
            let isr = partition.isr.clone();
            let change = change(context, topic, partition, isr, &acceptable, None);
            records.extend(change.record(topic.id, index).map(MetadataRecord::from));
        }
    });
    Decided { records, response: Ok(()) }
}

/// The broker is about to stop cleanly: others take over what it leads.
pub fn stop(
    context: &mut Context<'_>,
    id: NodeId,
    epoch: BrokerEpoch,
) -> Decided<Result<(), RegistrationError>> {
    let registered = context.image.broker(id).filter(|broker| broker.epoch == epoch);
    let Some(broker) = registered else {
        let error = RegistrationError::StaleEpoch { id, epoch };
        return Decided { records: vec![], response: Err(error) };
    };
    let mut records: Vec<MetadataRecord> = Vec::new();
    take_out(context, id, true, &mut records);
    if !broker.fenced {
        records.push(fencing_record(broker, 1).into());
    }
    Decided { records, response: Ok(()) }
}

/// What a controller says of itself when it starts.
pub fn register_controller(
    _: &mut Context<'_>,
    id: NodeId,
    incarnation: Uuid,
    endpoints: Vec<Endpoint>,
) -> Decided<()> {
    let features: BTreeMap<Arc<str>, FeatureRange> = features::supported();
    let controller =
        ControllerNode { id, incarnation, zk_migration_ready: false, endpoints, features };
    Decided { records: vec![controller_record(&controller).into()], response: () }
}

/// Ends every leadership and ISR membership of the broker. What it acknowledged was synced, so it
/// stays eligible even after a crash, unless the topic was written in relaxed mode.
fn take_out(context: &Context<'_>, id: NodeId, clean: bool, records: &mut Vec<MetadataRecord>) {
    let acceptable = |other| other != id && is_active(context.image, other);
    for_each_partition(context.image, |topic, index, partition| {
        let is_eligible = partition.isr.contains(&id) || partition.elr.contains(&id);
        if !is_eligible && partition.leader != Some(id) {
            return;
        }
        let lost = (!clean && !is_durable(context, topic)).then_some(id);
        let isr = partition.isr.iter().copied().filter(|&member| member != id).collect();
        let change = change(context, topic, partition, isr, &acceptable, lost);
        records.extend(change.record(topic.id, index).map(MetadataRecord::from));
    });
}

fn change<'a>(
    context: &Context<'_>,
    topic: &Topic,
    partition: &'a Partition,
    isr: Vec<NodeId>,
    acceptable: &'a dyn Fn(NodeId) -> bool,
    lost_data: Option<NodeId>,
) -> Change<'a> {
    let isr_min = topic_number(context, topic, "min.insync.replicas").unwrap_or(1);
    let isr_min = usize::try_from(isr_min).unwrap_or(1).min(partition.replicas.len());
    let unclean = topic_value(context, topic, "unclean.leader.election.enable");
    let unclean = unclean.as_deref() == Some("true");
    let election = if unclean { Election::Unclean } else { Election::Online };
    let elr_enabled = context.image.elr_enabled();
    Change { partition, isr, election, acceptable, isr_min, elr_enabled, lost_data }
}

/// Every acknowledged record was synced first.
fn is_durable(context: &Context<'_>, topic: &Topic) -> bool {
    topic_number(context, topic, "flush.messages") == Some(1)
}

fn topic_number(context: &Context<'_>, topic: &Topic, key: &str) -> Option<i64> {
    topic_value(context, topic, key)?.trim().parse().ok()
}

fn topic_value(context: &Context<'_>, topic: &Topic, key: &str) -> Option<String> {
    if let Some(set) = context.image.topic_config(&topic.name, key) {
        return Some(set.to_owned());
    }
    context.inherited(key)
}

fn is_active(image: &Image, id: NodeId) -> bool {
    image.broker(id).is_some_and(|broker| broker.is_active())
}

fn for_each_partition(image: &Image, mut visit: impl FnMut(&Topic, i32, &Partition)) {
    for topic in image.topics.values() {
        for (&index, partition) in topic.partitions.iter() {
            visit(topic, index, partition);
        }
    }
}

fn fencing_record(broker: &Broker, fenced: i8) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id: broker.id.0,
        broker_epoch: broker.epoch.0,
        fenced,
        ..BrokerRegistrationChangeRecord::default()
    }
}
