//! This broker as a member of its cluster: registers, serves, leaves (KIP-631).
//!
//! Every start registers anew and is fenced. What it led then gets a new leader epoch, so an epoch
//! and an offset name one record for ever, whatever a crash took.

use std::time::Duration;

use crate::controller::brokers::{self, Registration, RegistrationError};
use crate::controller::handle::ControllerHandle;
use crate::controller::operation::{Context, ControllerError, Decided};
use crate::env::Env;
use crate::metadata::image::Endpoint;
use crate::metadata::record::METADATA_VERSION;
use crate::types::{BrokerEpoch, NodeId, Offset, Uuid};

/// The controller is in this process: it answers as soon as its disk does.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("the broker cannot register: {0}")]
    Refused(#[from] RegistrationError),
    #[error("the controller does not answer: {0}")]
    Controller(#[from] ControllerError),
}

/// The first metadata.version whose records tell of controllers.
const CONTROLLERS_SINCE: i16 = 15;

/// Tells the cluster that this node decides, and what it supports.
pub async fn register_controller<E: Env>(
    controller: &ControllerHandle<E>,
    node: NodeId,
    incarnation: Uuid,
    endpoints: Vec<Endpoint>,
) -> Result<(), MembershipError> {
    let decide = move |context: &mut Context<'_>| {
        if context.image.feature(METADATA_VERSION) < CONTROLLERS_SINCE {
            return Decided { records: vec![], response: () };
        }
        brokers::register_controller(context, node, incarnation, endpoints)
    };
    let ((), _) = controller.commit("ControllerRegistration", PATIENCE, decide).await?;
    Ok(())
}

/// Says the epoch of this start, and the offset at which the metadata knows it.
pub async fn register<E: Env>(
    controller: &ControllerHandle<E>,
    registration: Registration,
) -> Result<(BrokerEpoch, Offset), MembershipError> {
    let (epoch, at) = controller
        .commit("BrokerRegistration", PATIENCE, move |context| {
            brokers::register(context, &registration)
        })
        .await?;
    Ok((epoch?, at))
}

/// The logs are open: returns when the published metadata says that this broker leads.
pub async fn unfence<E: Env>(
    controller: &ControllerHandle<E>,
    node: NodeId,
    epoch: BrokerEpoch,
) -> Result<(), MembershipError> {
    let decide = move |context: &mut Context<'_>| brokers::unfence(context, node, epoch);
    Ok(controller.write("BrokerHeartbeat", PATIENCE, decide).await??)
}

/// Others lead what this broker led, as far as there are others.
pub async fn leave<E: Env>(
    controller: &ControllerHandle<E>,
    node: NodeId,
    epoch: BrokerEpoch,
) -> Result<(), MembershipError> {
    let decide = move |context: &mut Context<'_>| brokers::stop(context, node, epoch);
    Ok(controller.write("ControlledShutdown", PATIENCE, decide).await??)
}
