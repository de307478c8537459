//! What a process holds of a connection: reads, writes, closes.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::end::{Life, Load};
use super::wires::Wires;

const SEGMENT_BYTES_MAX: usize = 16 << 10;

/// How often a read or write is carried out in part, and a write travels in small pieces.
const SHORT: f64 = 0.05;
const SPLIT: f64 = 0.05;

/// A process's hold on one end. Dropped: closed.
pub struct Socket {
    wires: Wires,
    id: u64,
    side: usize,
}

impl Socket {
    pub fn new(wires: &Wires, id: u64, side: usize) -> Socket {
        Socket { wires: wires.clone(), id, side }
    }

    pub fn local(&self) -> SocketAddr {
        self.address(self.side)
    }

    pub fn peer(&self) -> SocketAddr {
        self.address(1 - self.side)
    }

    fn address(&self, side: usize) -> SocketAddr {
        let state = self.wires.state();
        let nowhere = SocketAddr::new(super::address_of(0), 0);
        state.connections.get(&self.id).map_or(nowhere, |ends| ends[side].address)
    }

    /// Fills `into` with some of what has arrived; nothing at the end of the stream.
    pub fn poll_read(&self, into: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.wires.state();
        let Some(ends) = state.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let end = &mut ends[self.side];
        if end.life != Life::Open {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        }
        if end.received.is_empty() {
            if let Some(why) = end.broken {
                return Poll::Ready(Err(why.into()));
            }
            if end.peer_finished {
                return Poll::Ready(Ok(()));
            }
            end.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut room = into.remaining();
        if room > 1 && end.chance.happens(SHORT) {
            room = end.chance.between(1..room as u64) as usize;
        }
        while room > 0
            && let Some(data) = end.received.front_mut()
        {
            let part = data.split_to(data.len().min(room));
            if data.is_empty() {
                end.received.pop_front();
            }
            room -= part.len();
            end.unreported += part.len();
            into.put_slice(&part);
        }
        self.wires.report(&mut state, self.id, self.side);
        Poll::Ready(Ok(()))
    }

    pub fn poll_write(&self, data: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.wires.state();
        let Some(ends) = state.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let end = &mut ends[self.side];
        if let Some(why) = end.broken {
            return Poll::Ready(Err(why.into()));
        }
        if end.finished || end.life != Life::Open {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let mut len = data.len().min(end.window.saturating_sub(end.out));
        if len == 0 && !data.is_empty() {
            end.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if len > 1 && end.chance.happens(SHORT) {
            len = end.chance.between(1..len as u64) as usize;
        }
        end.out += len;
        let mut left = Bytes::copy_from_slice(&data[..len]);
        let small = end.chance.happens(SPLIT);
        while !left.is_empty() {
            let end = &mut state.connections.get_mut(&self.id).expect("just looked")[self.side];
            let most = left.len().min(SEGMENT_BYTES_MAX);
            let piece = if small { end.chance.between(1..most as u64 + 1) as usize } else { most };
            let segment = Load::Data(left.split_to(piece));
            self.wires.send(&mut state, self.id, self.side, segment);
        }
        Poll::Ready(Ok(len))
    }

    /// No more will be written.
    pub fn finish(&self) {
        let mut state = self.wires.state();
        let Some(ends) = state.connections.get_mut(&self.id) else { return };
        let end = &mut ends[self.side];
        if !end.finished && end.life == Life::Open && end.broken.is_none() {
            end.finished = true;
            self.wires.send(&mut state, self.id, self.side, Load::Finish);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.wires.state();
        self.wires.close(&mut state, self.id, self.side);
    }
}
