//! Where each of our errors meets its Kafka code.

use bytes::Bytes;

use crate::log::append::AppendError;
use crate::log::producers::ProducerError;
use crate::log::read::ReadError;
use crate::partition::lookup::LookupError;
use crate::partition::replica::NotServed;
use crate::partition::upkeep::DeletionError;
use crate::partition::{Gone, ProduceError, ReadRefused};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::produce_response::BatchIndexAndErrorMessage;
use crate::protocol::records::batch::BatchHeader;
use crate::protocol::records::validate::Invalid;
use crate::protocol::wire::Text;
use crate::types::Offset;

/// A failed partition of a Produce request.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: ErrorCode,
    pub message: Option<Text>,
    /// The records that are to blame, where single ones are.
    pub records: Vec<BatchIndexAndErrorMessage>,
    pub log_start: Option<Offset>,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Failure {
        Failure { code, message: None, records: Vec::new(), log_start: None }
    }
}

impl From<ProduceError> for Failure {
    fn from(error: ProduceError) -> Failure {
        let code = produce(&error);
        // Only single records are worth words: the code says the rest.
        let ProduceError::Invalid(Invalid::Records(faults)) = &error else { return code.into() };
        let told = faults.told.iter().map(|fault| BatchIndexAndErrorMessage {
            batch_index: fault.index as i32,
            batch_index_error_message: Some(Text::from(fault.kind.to_string())),
        });
        let (message, records) = (Some(Text::from(error.to_string())), told.collect());
        Failure { code, message, records, log_start: None }
    }
}

pub fn produce(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::NotServed(error) => not_served(error),
        ProduceError::Gone(error) => gone(error),
        ProduceError::Invalid(invalid) => invalid.code(),
        ProduceError::Append(error) => match error {
            AppendError::Producer(error) => match error {
                ProducerError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
                ProducerError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
                ProducerError::OutsideTransaction { .. } => ErrorCode::InvalidTxnState,
                ProducerError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            },
            AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
            AppendError::Batch(_) | AppendError::OutOfOrder { .. } => ErrorCode::CorruptMessage,
            AppendError::Io(_) | AppendError::Failed | AppendError::TruncationUnsynced => {
                ErrorCode::KafkaStorageError
            }
        },
    }
}

pub fn not_served(error: &NotServed) -> ErrorCode {
    match error {
        NotServed::NotLeader(_) => ErrorCode::NotLeaderOrFollower,
        NotServed::FencedEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        NotServed::UnknownEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        NotServed::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
    }
}

pub fn gone(error: &Gone) -> ErrorCode {
    match error {
        Gone::Deleted => ErrorCode::UnknownTopicOrPartition,
        Gone::Stopping => ErrorCode::NotLeaderOrFollower,
        Gone::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

pub fn refused(error: &ReadRefused) -> ErrorCode {
    match error {
        ReadRefused::NotServed(error) => not_served(error),
        ReadRefused::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        ReadRefused::Gone(error) => gone(error),
    }
}

pub fn read(error: &ReadError) -> ErrorCode {
    match error {
        // The segment went between the plan and the read: the log starts later now.
        ReadError::Gone => ErrorCode::OffsetOutOfRange,
        ReadError::Damaged { .. } | ReadError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

pub fn lookup(error: &LookupError, version: i16) -> ErrorCode {
    match error {
        LookupError::Refused(error) => refused(error),
        // Clients below version 5 do not know the better code.
        LookupError::EndUnknown if version < 5 => ErrorCode::LeaderNotAvailable,
        LookupError::EndUnknown => ErrorCode::OffsetNotAvailable,
        LookupError::Read(error) => read(error),
    }
}

pub fn deletion(error: &DeletionError) -> ErrorCode {
    match error {
        DeletionError::Refused(error) => refused(error),
        DeletionError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        DeletionError::Compacted => ErrorCode::PolicyViolation,
    }
}

/// Whether the answer to a failed append says where the log starts: Kafka tells when the log itself
/// looked at the batch and refused it.
pub fn tells_log_start(error: &ProduceError) -> bool {
    match error {
        ProduceError::NotServed(NotServed::NotEnoughReplicas { .. }) => true,
        ProduceError::NotServed(_) | ProduceError::Gone(_) => false,
        ProduceError::Append(error) => matches!(error, AppendError::Producer(_)),
        ProduceError::Invalid(invalid) => !matches!(
            invalid,
            Invalid::NoBatch { .. }
                | Invalid::SecondBatch
                | Invalid::OldMagic { .. }
                | Invalid::ZstdVersion
                | Invalid::Damaged(_)
                | Invalid::BatchTooLarge { .. }
                | Invalid::SegmentTooSmall { .. }
        ),
    }
}

/// Whether an answer with this code also says who leads (KIP-951).
pub fn names_leader(code: i16) -> bool {
    let naming = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch];
    naming.iter().any(|naming| naming.code() == code)
}

/// Whether the records are of a transaction. Bytes that are no batch are not: they are refused
/// for what they are.
pub fn is_transactional(records: &Bytes) -> bool {
    BatchHeader::parse(records).is_ok_and(|header| header.is_transactional())
}
