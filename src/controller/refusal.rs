//! Why one thing of a request was not done: Kafka's code, with its words.

use crate::controller::operation::ControllerError;
use crate::protocol::error::ErrorCode;
use crate::protocol::wire::Text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: Some(message.into()) }
    }

    /// The error that the whole request met.
    pub fn of(error: &ControllerError) -> Refusal {
        Refusal { code: error.code(), message: None }
    }

    pub fn text(&self) -> Option<Text> {
        self.message.as_deref().map(Text::new)
    }
}
