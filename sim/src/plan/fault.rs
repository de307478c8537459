//! What may befall the world, and the classes by which a run is spared or not.

use serde::{Deserialize, Serialize};

use crate::world::Kill;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub at_ms: u64,
    pub fault: Fault,
}

/// Hosts are numbered: the brokers first, then the clients, then the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The broker ends and comes back after `down_ms`. 0 is a crash loop's pace.
    Kill {
        broker: usize,
        how: Kill,
        down_ms: u64,
    },
    Pause {
        broker: usize,
        ms: u64,
    },
    DiskStall {
        broker: usize,
        ms: u64,
    },
    DiskSlow {
        broker: usize,
        slowness: u32,
        ms: u64,
    },
    /// Breaks about this share of the host's connections.
    Reset {
        host: usize,
        percent: u32,
    },
    /// One connection's bytes arrive late.
    Hold {
        host: usize,
        ms: u64,
    },
    /// One direction between two hosts.
    Cut {
        from: usize,
        to: usize,
        ms: u64,
    },
    WallJump {
        broker: usize,
        by_ms: i64,
    },
    Drift {
        broker: usize,
        ppm: i64,
    },
}

impl Fault {
    pub fn class(&self) -> Class {
        match self {
            Fault::Kill { how: Kill::Process, .. } => Class::Crash,
            Fault::Kill { how: Kill::Power(_), .. } => Class::PowerLoss,
            Fault::Pause { .. } => Class::Pause,
            Fault::DiskStall { .. } | Fault::DiskSlow { .. } => Class::SlowDisk,
            Fault::Reset { .. } | Fault::Hold { .. } => Class::Connections,
            Fault::Cut { .. } => Class::Partition,
            Fault::WallJump { .. } | Fault::Drift { .. } => Class::Clock,
        }
    }
}

/// Faults are switched on and off by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Crash,
    PowerLoss,
    Pause,
    SlowDisk,
    Connections,
    Partition,
    Clock,
}

impl Class {
    pub const ALL: [Class; 7] = [
        Class::Crash,
        Class::PowerLoss,
        Class::Pause,
        Class::SlowDisk,
        Class::Connections,
        Class::Partition,
        Class::Clock,
    ];

    pub fn describe(self) -> &'static str {
        match self {
            Class::Crash => "kill -9: the page cache stays; crash loops",
            Class::PowerLoss => "unsynced sectors and names are kept, lost, torn or noise",
            Class::Pause => "the process stands still, its kernel does not",
            Class::SlowDisk => "syncs and reads stall for seconds or take up to 100 times as long",
            Class::Connections => "resets, and bytes that arrive a minute late",
            Class::Partition => "one direction between two hosts is cut, or both",
            Class::Clock => "the wall clock jumps, both clocks drift",
        }
    }
}
