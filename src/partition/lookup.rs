//! Offsets of places and times in a partition (ListOffsets), as a leader may tell them.

use crate::env::Env;
use crate::log::lookup::TimedOffset;
use crate::log::read::ReadError;
use crate::partition::replica::NotServed;
use crate::partition::{Partition, ReadRefused, State};
use crate::types::{LeaderEpoch, Offset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: Offset,
    /// -1 for a place that is no record.
    pub timestamp_ms: i64,
    pub leader_epoch: Option<LeaderEpoch>,
}

#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Refused(#[from] ReadRefused),
    #[error("the end is unknown until the new leader's first records are committed")]
    EndUnknown,
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<NotServed> for LookupError {
    fn from(error: NotServed) -> LookupError {
        LookupError::Refused(error.into())
    }
}

impl From<TimedOffset> for Found {
    fn from(found: TimedOffset) -> Found {
        Found {
            offset: found.offset,
            timestamp_ms: found.timestamp_ms,
            leader_epoch: Some(found.leader_epoch),
        }
    }
}

impl<E: Env> Partition<E> {
    /// The end that consumers see.
    pub fn latest(&self, asked: LeaderEpoch, committed_only: bool) -> Result<Found, LookupError> {
        let state = self.lock();
        let offset = state.visible_end(asked, committed_only)?;
        Ok(Found { offset, timestamp_ms: -1, leader_epoch: state.log.latest_epoch() })
    }

    pub fn earliest(&self, asked: LeaderEpoch) -> Result<Found, LookupError> {
        let state = self.lock();
        state.check_readable(asked)?;
        let offset = state.log.start();
        let leader_epoch = state.log.epochs().epoch_at(offset);
        Ok(Found { offset, timestamp_ms: -1, leader_epoch })
    }

    /// Nothing is tiered.
    pub fn tiered(&self, asked: LeaderEpoch) -> Result<Option<Found>, LookupError> {
        self.lock().check_readable(asked)?;
        Ok(None)
    }

    /// The first record stamped `timestamp_ms` or later.
    pub async fn at_or_after(
        &self,
        timestamp_ms: i64,
        asked: LeaderEpoch,
        committed_only: bool,
    ) -> Result<Option<Found>, LookupError> {
        let (limit, lookup) = {
            let state = self.lock();
            (state.visible_end(asked, committed_only)?, state.log.time_lookup())
        };
        Ok(lookup.at_or_after(timestamp_ms, limit).await?.map(Found::from))
    }

    /// The first record with the largest timestamp of all.
    pub async fn largest_timestamp(
        &self,
        asked: LeaderEpoch,
        committed_only: bool,
    ) -> Result<Option<Found>, LookupError> {
        let (limit, lookup) = {
            let state = self.lock();
            (state.visible_end(asked, committed_only)?, state.log.time_lookup())
        };
        Ok(lookup.largest_timestamp(limit).await?.map(Found::from))
    }
}

impl<E: Env> State<E> {
    /// Unknown while the high watermark is behind the start of the leader's epoch: an offset told
    /// earlier might lie past it (KIP-207).
    fn visible_end(&self, asked: LeaderEpoch, committed_only: bool) -> Result<Offset, LookupError> {
        self.check_readable(asked)?;
        let high_watermark = self.replica.high_watermark();
        if high_watermark < self.replica.epoch_start() {
            return Err(LookupError::EndUnknown);
        }
        Ok(if committed_only { self.log.last_stable(high_watermark) } else { high_watermark })
    }
}
