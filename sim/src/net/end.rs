//! One end of a connection, as its host's kernel keeps it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use crate::chance::Chance;

/// What a sender may have out: the usual, and that of a peer with very little memory.
const WINDOW_BYTES: usize = 64 << 10;
const WINDOW_BYTES_TINY: usize = 700;

pub const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// After this long without an answer a host gives the connection up.
const SILENCE_MAX: Duration = Duration::from_secs(900);

/// One side of a connection; `side` 0 connected, 1 accepted.
pub struct End {
    pub host: usize,
    pub address: SocketAddr,
    pub life: Life,
    pub chance: Chance,
    pub received: VecDeque<Bytes>,
    /// Bytes that were read here and the peer does not know it yet.
    pub unreported: usize,
    pub reporting: bool,
    pub peer_finished: bool,
    pub broken: Option<ErrorKind>,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    pub window: usize,
    /// Bytes taken from the writer here that the peer has not been known to read.
    pub out: usize,
    pub finished: bool,
    pub wire: VecDeque<Segment>,
    pub pumping: bool,
    /// When the link is free for the next byte, and when the last segment arrives.
    pub departs: Duration,
    pub arrives: Duration,
    pub held_until: Duration,
    /// So many more bytes leave here, and then the connection breaks.
    pub severed_after: Option<usize>,
    pub stalled_since: Option<Duration>,
    pub retry: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Life {
    Open,
    /// Closed by its process, or by the kernel for it. The wire is still emptied.
    Closed,
    /// The host lost its power, and with it all memory of the connection.
    Forgotten,
}

pub struct Segment {
    pub at: Duration,
    pub load: Load,
}

pub enum Load {
    Data(Bytes),
    Finish,
}

impl End {
    pub fn new(host: usize, address: SocketAddr, chance: Chance, is_tiny: bool) -> End {
        let window = if is_tiny { WINDOW_BYTES_TINY } else { WINDOW_BYTES };
        End {
            host,
            address,
            life: Life::Open,
            chance,
            received: VecDeque::new(),
            unreported: 0,
            reporting: false,
            peer_finished: false,
            broken: None,
            reader: None,
            writer: None,
            window,
            out: 0,
            finished: false,
            wire: VecDeque::new(),
            pumping: false,
            departs: Duration::ZERO,
            arrives: Duration::ZERO,
            held_until: Duration::ZERO,
            severed_after: None,
            stalled_since: None,
            retry: RETRY_FIRST,
        }
    }

    /// How long to wait for the next try; `None` when the host gives up.
    pub fn next_retry(&mut self, now: Duration) -> Option<Duration> {
        let since = *self.stalled_since.get_or_insert(now);
        let retry = self.retry;
        self.retry = (retry * 2).min(RETRY_MAX);
        (now - since < SILENCE_MAX).then_some(retry)
    }
}

pub fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
