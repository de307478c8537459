//! What must hold, and how a run says that it did not.
//!
//! `ghost` watches from inside, on every probe; `history` judges from outside, by what clients
//! were told, so that it can judge any broker. Both name the invariant that broke and show the
//! least evidence that convinces.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod forfeit;
pub mod fsync;
pub mod ghost;
pub mod history;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Invariant {
    I2,
    I3,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I17,
    I18,
    I19,
    I20,
    I21,
    I37,
    I38,
    I39,
    I41,
    I42,
    I43,
    I44,
    I45,
    I46,
    I48,
    I50,
    I53,
    I55,
    I58,
}

impl Invariant {
    pub const ALL: [Invariant; 28] = [
        Invariant::I2,
        Invariant::I3,
        Invariant::I5,
        Invariant::I6,
        Invariant::I7,
        Invariant::I8,
        Invariant::I9,
        Invariant::I10,
        Invariant::I11,
        Invariant::I17,
        Invariant::I18,
        Invariant::I19,
        Invariant::I20,
        Invariant::I21,
        Invariant::I37,
        Invariant::I38,
        Invariant::I39,
        Invariant::I41,
        Invariant::I42,
        Invariant::I43,
        Invariant::I44,
        Invariant::I45,
        Invariant::I46,
        Invariant::I48,
        Invariant::I50,
        Invariant::I53,
        Invariant::I55,
        Invariant::I58,
    ];

    pub fn describe(self) -> &'static str {
        match self {
            Invariant::I2 => "an offset shows the same record to everybody, for ever",
            Invariant::I3 => "what is committed never changes",
            Invariant::I5 => "offsets are contiguous, and an answer names the right ones",
            Invariant::I6 => "records come back as they were sent, batches whole",
            Invariant::I7 => {
                "epochs never fall along a log, and their boundaries are those of its batches"
            }
            Invariant::I8 => "the high watermark never falls and never passes what is durable",
            Invariant::I9 => "what is acknowledged is on the disk at that moment",
            Invariant::I10 => "what was acknowledged is never lost",
            Invariant::I11 => "nothing is read that was not sent, or was refused",
            Invariant::I17 => "no record of an idempotent producer is there twice",
            Invariant::I18 => {
                "a producer's sequences follow each other, and a retry gets the first answer"
            }
            Invariant::I19 => "a producer's records stand in the order of sending",
            Invariant::I20 => "no producer id is given out twice",
            Invariant::I21 => "what is remembered of producers is what the log says",
            Invariant::I37 => {
                "what the metadata log committed stays, and is what everybody applies"
            }
            Invariant::I38 => "one order of administrators' requests explains every answer",
            Invariant::I39 => "a cluster takes only allowed steps, and uses no id again",
            Invariant::I41 => "a snapshot is whole and says what the log says",
            Invariant::I42 => "recovery keeps everything that was durable",
            Invariant::I43 => "damage below the recovery point is reported, never cut away",
            Invariant::I44 => "what a failed sync was to cover never counts as durable",
            Invariant::I45 => {
                "what is within a limit is taken, what is beyond it refused; a broker gives up \
                 only over its disk, and invents nothing"
            }
            Invariant::I46 => "a log lets go only of what its rules name, below the high watermark",
            Invariant::I48 => "a search through an index finds what a walk would find",
            Invariant::I50 => "once healed, the broker takes and serves records within a minute",
            Invariant::I53 => "a broker keeps nothing of clients that are gone",
            Invariant::I55 => "where nothing is broken nothing goes wrong",
            Invariant::I58 => "a fetch waits only for what is not there, and goes on when it comes",
        }
    }

    /// Something good did not happen, rather than something bad.
    pub fn is_liveness(self) -> bool {
        self == Invariant::I50
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.describe())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    pub invariant: Invariant,
    pub evidence: String,
}

impl Violation {
    pub fn new(invariant: Invariant, evidence: String) -> Violation {
        Violation { invariant, evidence }
    }

    /// Ends the run, from wherever in it.
    pub fn raise(self) -> ! {
        std::panic::panic_any(self)
    }
}
