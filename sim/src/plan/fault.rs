//! What may befall the world, and the classes by which a run is spared or not.
//!
//! A fault says everything about itself: what, where, how long, when. What is left to chance when
//! it strikes (which sectors, which connection) comes from a stream of its own, named by its id,
//! so that a plan without some of its faults leaves the others as they were.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::{Chance, Subsystem};
use crate::disk::faults::Fault as DiskFault;
use crate::disk::loss::Persona;
use crate::world::Kill;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Unique in the plan, and kept when others are taken out of it.
    pub id: u64,
    /// Strikes then, or at the first moment after it.
    pub at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    pub fault: Fault,
}

/// A time at which the target is easily hurt. When none comes the fault is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub window: Window,
    /// How long after the window opened; it may be closed again by then.
    pub into_micros: u64,
}

/// What a broker may be in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Bytes wait for a sync that has not begun.
    Unsynced,
    Syncing,
    /// From the start of a process until it serves.
    Recovering,
    /// Names were created, renamed or removed, and no sync covers that: a segment rolls, a topic
    /// comes or goes.
    Renaming,
    /// A small file is being replaced: a checkpoint, a snapshot, the vote.
    Replacing,
}

impl Window {
    pub const ALL: [Window; 5] = [
        Window::Unsynced,
        Window::Syncing,
        Window::Recovering,
        Window::Renaming,
        Window::Replacing,
    ];
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
    /// The broker is asked to end in order, and started again `down_ms` later. When it has not ended
    /// after `patience_ms` it is killed.
    Stop {
        broker: usize,
        patience_ms: u64,
        down_ms: u64,
        /// The machine is turned off meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        power: Option<Persona>,
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
    /// The next call of that kind fails. A broker that stops over it is started again.
    DiskError {
        broker: usize,
        error: DiskFault,
        repair: Repair,
    },
    /// No more than `spare_bytes` can be stored.
    DiskFull {
        broker: usize,
        spare_bytes: u64,
        ms: u64,
        repair: Repair,
    },
    /// No more than `spare` files can be opened beside those that are open.
    FewFiles {
        broker: usize,
        spare: u32,
        ms: u64,
        repair: Repair,
    },
    /// Destroys what was durable: needs a permit.
    Damage {
        broker: usize,
        damage: Damage,
        repair: Repair,
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
    /// One connection breaks off when so many more bytes were sent: within a frame.
    Sever {
        host: usize,
        after_bytes: u32,
    },
    /// The host forgets one connection, and its peer hears nothing of that.
    Forget {
        host: usize,
    },
    /// One direction between two hosts.
    Cut {
        from: usize,
        to: usize,
        ms: u64,
    },
    /// Nobody answers a SYN; what is established goes on.
    ConnectsHang {
        from: usize,
        to: usize,
        ms: u64,
    },
    SlowLink {
        from: usize,
        to: usize,
        latency_ms: u64,
        bytes_per_second: u64,
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

/// What the operator does about a broker that stopped over a fault of its disk: he looks into it
/// for a while, perhaps he turns the machine off and on, then he starts the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    pub after_ms: u64,
    /// `None`: the kernel goes on with what it has in its cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Persona>,
}

/// Acts after which no copy of something acknowledged may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// A bit of a partition's files flips, for good.
    Rot,
    /// A bit of what is read next from a partition's files flips; the disk itself is sound.
    Flip,
    /// A write to a partition's files is confirmed and never carried out.
    LoseWrite,
    /// A bit of the metadata log flips.
    RotMetadata,
    /// The disk is replaced by an empty one.
    Wipe,
}

impl Fault {
    pub fn class(&self) -> Class {
        match self {
            Fault::Kill { how: Kill::Process, .. } => Class::Crash,
            Fault::Kill { how: Kill::Power(_), .. } => Class::PowerLoss,
            Fault::Stop { .. } => Class::Stop,
            Fault::Pause { .. } => Class::Pause,
            Fault::DiskStall { .. } | Fault::DiskSlow { .. } => Class::SlowDisk,
            Fault::DiskError { .. } => Class::DiskErrors,
            Fault::DiskFull { .. } | Fault::FewFiles { .. } => Class::Shortage,
            Fault::Damage { .. } => Class::Damage,
            Fault::Reset { .. }
            | Fault::Hold { .. }
            | Fault::Sever { .. }
            | Fault::Forget { .. } => Class::Connections,
            Fault::Cut { .. } | Fault::ConnectsHang { .. } => Class::Partition,
            Fault::SlowLink { .. } => Class::SlowLinks,
            Fault::WallJump { .. } | Fault::Drift { .. } => Class::Clock,
        }
    }

    /// The broker whose windows it may wait for.
    pub fn broker(&self) -> Option<usize> {
        match *self {
            Fault::Kill { broker, .. }
            | Fault::Stop { broker, .. }
            | Fault::Pause { broker, .. }
            | Fault::DiskStall { broker, .. }
            | Fault::DiskSlow { broker, .. }
            | Fault::DiskError { broker, .. }
            | Fault::DiskFull { broker, .. }
            | Fault::FewFiles { broker, .. }
            | Fault::Damage { broker, .. }
            | Fault::WallJump { broker, .. }
            | Fault::Drift { broker, .. } => Some(broker),
            _ => None,
        }
    }
}

impl Planned {
    /// What is left to chance when it strikes.
    pub fn chance(&self, seed: u64) -> Chance {
        Chance::stream(seed, Subsystem::Fault, self.id, 0)
    }
}

impl Moment {
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.into_micros)
    }
}

/// Faults are switched on and off by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Crash,
    PowerLoss,
    Stop,
    Pause,
    SlowDisk,
    DiskErrors,
    Shortage,
    Connections,
    Partition,
    SlowLinks,
    Clock,
    /// Not one of the swarm: a run with it is over budget.
    Damage,
}

impl Class {
    pub const ALL: [Class; 12] = [
        Class::Crash,
        Class::PowerLoss,
        Class::Stop,
        Class::Pause,
        Class::SlowDisk,
        Class::DiskErrors,
        Class::Shortage,
        Class::Connections,
        Class::Partition,
        Class::SlowLinks,
        Class::Clock,
        Class::Damage,
    ];

    pub fn describe(self) -> &'static str {
        match self {
            Class::Crash => "kill -9, also during recovery and in loops: the page cache stays",
            Class::PowerLoss => "unsynced sectors and names are kept, lost, torn or noise",
            Class::Stop => "SIGTERM, perhaps with the power off before the next start",
            Class::Pause => "the process stands still for up to a minute, its kernel does not",
            Class::SlowDisk => "syncs and reads stall for seconds or take up to 100 times as long",
            Class::DiskErrors => "a write, read, open or sync fails; a failed sync leaves lies",
            Class::Shortage => "no space, or no files to open, for up to two minutes",
            Class::Connections => "resets, ends within a frame, half-open peers, late bytes",
            Class::Partition => "links are cut one way, both ways or in turn; connects hang",
            Class::SlowLinks => "a link has seconds of latency and a trickle of bandwidth",
            Class::Clock => "the wall clock jumps up to a day, both clocks drift up to 5 %",
            Class::Damage => "over budget: rot, lost writes and wipes of the only copy",
        }
    }
}
