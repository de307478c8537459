//! One batch on its way, and what its answers mean.

use bytes::Bytes;

use crate::protocol::error::ErrorCode;
use crate::protocol::messages::produce_response::PartitionProduceResponse;
use crate::protocol::records::build::Producer as Origin;
use crate::types::{Offset, Uuid};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken. The offset is unknown when the broker only says that it knew the batch already.
    Acknowledged { base: Option<Offset>, append_ms: Option<i64> },
    /// Certainly not stored, by any of the attempts.
    Failed { code: Option<ErrorCode> },
    /// An attempt may have stored it; `code` is what was answered last, if anything.
    Unknown { code: Option<ErrorCode> },
}

#[derive(Debug)]
pub struct Parcel {
    pub topic_id: Uuid,
    pub partition: u32,
    batch: Bytes,
    origin: Option<Origin>,
    pub(super) attempts: u32,
    /// An attempt before the one that is on its way may have stored it.
    was_in_doubt: bool,
    /// Any attempt may have.
    in_doubt: bool,
    /// Answered last.
    code: Option<ErrorCode>,
    outcome: Option<Outcome>,
}

impl Parcel {
    pub(super) fn new(
        topic_id: Uuid,
        partition: u32,
        batch: Bytes,
        origin: Option<Origin>,
    ) -> Parcel {
        Parcel {
            topic_id,
            partition,
            batch,
            origin,
            attempts: 0,
            was_in_doubt: false,
            in_doubt: false,
            code: None,
            outcome: None,
        }
    }

    /// As it is sent.
    pub fn batch(&self) -> &Bytes {
        &self.batch
    }

    /// Whose it is, with idempotence.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// How often it was sent.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    pub(super) fn is_settled(&self) -> bool {
        self.outcome.is_some()
    }

    pub(super) fn on_send(&mut self) {
        self.attempts += 1;
        self.was_in_doubt = self.in_doubt;
        self.in_doubt = true;
    }

    /// `behind_open`: a batch before this one is still to be stored, so that this one cannot be in
    /// order.
    pub(super) fn settle(&mut self, answer: &PartitionProduceResponse, behind_open: bool) {
        let code = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
        match code {
            ErrorCode::None => {
                let base = (answer.base_offset >= 0).then_some(Offset(answer.base_offset));
                let append_ms =
                    (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms);
                self.outcome = Some(Outcome::Acknowledged { base, append_ms });
            }
            ErrorCode::DuplicateSequenceNumber => {
                self.outcome = Some(Outcome::Acknowledged { base: None, append_ms: None });
            }
            code => {
                self.code = Some(code);
                self.in_doubt = self.was_in_doubt || !is_definite(code);
                let again = code.is_retriable()
                    || (code == ErrorCode::OutOfOrderSequenceNumber && behind_open);
                if !again {
                    self.give_up();
                }
            }
        }
    }

    /// No attempt will be made any more, for `code`.
    pub(super) fn refuse(&mut self, code: ErrorCode) {
        self.code = Some(code);
        self.give_up();
    }

    /// Nobody will tell what becomes of it.
    pub(super) fn abandon(&mut self) {
        self.outcome = Some(Outcome::Unknown { code: None });
    }

    /// What is known now is all that will be.
    pub(super) fn give_up(&mut self) {
        let code = self.code;
        self.outcome.get_or_insert(match self.in_doubt {
            true => Outcome::Unknown { code },
            false => Outcome::Failed { code },
        });
    }

    /// Will the broker miss its sequence?
    pub(super) fn leaves_a_gap(&self) -> bool {
        !matches!(self.outcome, Some(Outcome::Acknowledged { .. }))
    }
}

/// Does the code promise that this attempt stored nothing?
fn is_definite(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotEnoughReplicas
            | ErrorCode::InvalidRecord
            | ErrorCode::InvalidTimestamp
            | ErrorCode::RecordListTooLarge
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::TopicAuthorizationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(was_in_doubt: bool) -> Parcel {
        let mut parcel = Parcel::new(Uuid::ZERO, 0, Bytes::new(), None);
        if was_in_doubt {
            parcel.on_send();
        }
        parcel.on_send();
        parcel
    }

    fn settled(code: ErrorCode, was_in_doubt: bool, behind: bool) -> (Option<Outcome>, bool) {
        let mut parcel = parcel(was_in_doubt);
        let answer = PartitionProduceResponse {
            error_code: code.code(),
            base_offset: 7,
            log_append_time_ms: -1,
            ..PartitionProduceResponse::default()
        };
        parcel.settle(&answer, behind);
        (parcel.outcome, parcel.in_doubt)
    }

    #[test]
    fn an_answer_settles_a_batch_or_asks_for_another_attempt() {
        let acknowledged = Outcome::Acknowledged { base: Some(Offset(7)), append_ms: None };
        assert_eq!(settled(ErrorCode::None, true, false).0, Some(acknowledged));
        assert_eq!(settled(ErrorCode::NotEnoughReplicas, false, false), (None, false));
        assert_eq!(settled(ErrorCode::NotLeaderOrFollower, false, false), (None, true));
        let code = Some(ErrorCode::MessageTooLarge);
        let failed = Some(Outcome::Failed { code });
        assert_eq!(settled(ErrorCode::MessageTooLarge, false, false).0, failed);
    }

    #[test]
    fn a_doubt_outlives_a_later_definite_answer() {
        let code = Some(ErrorCode::MessageTooLarge);
        let unknown = Some(Outcome::Unknown { code });
        assert_eq!(settled(ErrorCode::MessageTooLarge, true, false).0, unknown);
        assert_eq!(settled(ErrorCode::NotEnoughReplicas, true, false), (None, true));
    }

    #[test]
    fn out_of_order_is_final_only_when_nothing_before_is_missing() {
        let code = ErrorCode::OutOfOrderSequenceNumber;
        assert_eq!(settled(code, false, true), (None, false));
        assert_eq!(settled(code, false, false).0, Some(Outcome::Failed { code: Some(code) }));
        let unknown = Some(Outcome::Unknown { code: Some(code) });
        assert_eq!(settled(code, true, false).0, unknown);
    }

    #[test]
    fn giving_up_says_what_is_known() {
        let mut fresh = Parcel::new(Uuid::ZERO, 0, Bytes::new(), None);
        fresh.give_up();
        assert_eq!(fresh.outcome(), Some(Outcome::Failed { code: None }));
        let mut sent = parcel(false);
        sent.refuse(ErrorCode::UnknownTopicId);
        let code = Some(ErrorCode::UnknownTopicId);
        assert_eq!(sent.outcome(), Some(Outcome::Unknown { code }));
    }
}
