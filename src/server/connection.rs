//! One connection: bytes in, requests, answers in the order of the requests, bytes out.
//!
//! One task does it all. A request starts as soon as its frame is whole; Produce requests overlap
//! (five in flight share one commit), any other request waits for the answers before it, as if the
//! connection were muted. Only the oldest answer is waited for, and all that are ready leave in
//! one vectored write.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Shared;
use super::budget::Share;
use crate::api::{self, Answer, Client, Reply};
use crate::env::clock::{Clock, Elapsed};
use crate::env::net::Conn;
use crate::env::{ConnOf, Env, ReaderOf, WriterOf};
use crate::protocol::api::ApiKey;
use crate::protocol::wire::writer::Piece;
use crate::types::Instant;

/// What a read makes room for: more, the more there was to read last time.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 32 << 10;
/// Requests of one connection that wait for their answer at a time.
const PIPELINED_MAX: usize = 128;
/// Slices that one vectored write takes at most (IOV_MAX is 1024).
const SLICES_MAX: usize = 256;
/// Of a file region, sent under one stall limit.
const REGION_CHUNK_BYTES: u64 = 256 << 10;
/// A frame that hardly anything of arrives for so long gives its memory back, and its connection up.
const READ_STALL_MAX: Duration = Duration::from_secs(60);
/// Less than this is hardly anything.
const READ_STALL_BYTES: usize = 4 << 10;
/// A peer that takes no bytes for so long is gone, or as good as gone.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// A buffer that no bytes reached for so long is given back.
const BUFFER_IDLE_MAX: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    #[error("the peer closed it")]
    ByPeer,
    #[error("the peer closed it within a frame")]
    WithinFrame,
    #[error("the broker shuts down")]
    Shutdown,
    #[error("a frame of {size} bytes; 1 to {size_max} are taken (socket.request.max.bytes)")]
    FrameSize { size: i32, size_max: i32 },
    #[error("{0}")]
    Refused(api::Refusal),
    #[error("idle for {0:?} (connections.max.idle.ms)")]
    Idle(Duration),
    #[error("less than {READ_STALL_BYTES} bytes of a frame in {0:?}")]
    ReadStalled(Duration),
    #[error("the peer took no bytes for {0:?}")]
    WriteStalled(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Closed {
    /// Whether it is the everyday end of a connection.
    pub fn is_ordinary(&self) -> bool {
        match self {
            Closed::ByPeer | Closed::Shutdown | Closed::Idle(_) => true,
            Closed::Io(error) => {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            }
            Closed::WithinFrame
            | Closed::FrameSize { .. }
            | Closed::Refused(_)
            | Closed::ReadStalled(_)
            | Closed::WriteStalled(_) => false,
        }
    }
}

enum Pending<E: Env> {
    Waiting(api::Handling<E>),
    Ready(Answer<E>),
}

struct InFlight<E: Env> {
    pending: Pending<E>,
    is_produce: bool,
    /// May be waiting for records: not worth delaying a stop.
    is_fetch: bool,
    /// Given back when the answer is written.
    _share: Share,
}

pub struct Connection<E: Env> {
    shared: Arc<Shared<E>>,
    client: Arc<Client>,
    reader: ReaderOf<E>,
    writer: WriterOf<E>,
    buffer: BytesMut,
    read_bytes: usize,
    /// So many frames were whole.
    frames: u64,
    /// Taken for the frame at the front of `buffer`.
    share: Option<Share>,
    in_flight: VecDeque<InFlight<E>>,
}

/// What the frame at the front of the buffer waits for.
#[derive(Clone, Copy)]
enum Wanted {
    Bytes(usize),
    Budget(usize),
    /// The answers in flight: this request does not overlap with them.
    Turn,
}

/// How far the peer had come with its frames.
struct Progress {
    at: Instant,
    frames: u64,
    /// Of the frame that is not whole yet.
    bytes: usize,
}

impl Progress {
    fn is_beyond(&self, before: &Progress) -> bool {
        self.frames > before.frames || self.bytes >= before.bytes + READ_STALL_BYTES
    }
}

enum Event {
    Read(io::Result<usize>),
    Funded(Share),
    Answered,
    Quiet,
    Shutdown,
}

impl<E: Env> Connection<E> {
    pub fn new(shared: Arc<Shared<E>>, conn: ConnOf<E>, client: Arc<Client>) -> Connection<E> {
        let (reader, writer) = conn.split();
        Connection {
            shared,
            client,
            reader,
            writer,
            buffer: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            frames: 0,
            share: None,
            in_flight: VecDeque::new(),
        }
    }

    /// Serves the peer until one side has enough of it.
    pub async fn run(mut self) -> Closed {
        match self.serve().await {
            Err(closed) => closed,
            Ok(never) => match never {},
        }
    }

    async fn serve(&mut self) -> Result<Infallible, Closed> {
        let shared = self.shared.clone();
        let clock = shared.env.clock();
        let idle_max = shared.limits.idle_max;
        let mut active = clock.now();
        let first_look = active.after(BUFFER_IDLE_MAX.min(idle_max));
        let mut quiet = pin!(clock.sleep_until(first_look));
        let mut parked = false;
        let mut progress = Progress { at: active, frames: 0, bytes: 0 };
        loop {
            let wanted = self.start_requests().await?;
            self.write_answers().await?;
            let busy = !self.in_flight.is_empty();
            if shared.shutdown.is_set() && self.in_flight.iter().all(|request| request.is_fetch) {
                return Err(Closed::Shutdown);
            }
            if let Wanted::Turn = wanted
                && !busy
            {
                continue;
            }
            let event = self.next_event(wanted, quiet.as_mut()).await;
            match event {
                Event::Read(Ok(0)) if self.buffer.is_empty() => return Err(Closed::ByPeer),
                Event::Read(Ok(0)) => return Err(Closed::WithinFrame),
                Event::Read(Err(error)) => return Err(error.into()),
                Event::Read(Ok(count)) => {
                    active = clock.now();
                    self.adapt(count);
                    if parked {
                        parked = false;
                        quiet.set(clock.sleep_until(active.after(BUFFER_IDLE_MAX)));
                    }
                }
                Event::Funded(share) => self.share = Some(share),
                Event::Answered => active = clock.now(),
                Event::Shutdown => {}
                Event::Quiet => {
                    let now = clock.now();
                    // It is not the peer who keeps silent.
                    if busy || matches!(wanted, Wanted::Budget(_)) {
                        active = now;
                    }
                    let idle = now.since(active);
                    let waits = self.share.is_none() || busy;
                    let reached =
                        Progress { at: now, frames: self.frames, bytes: self.buffer.len() };
                    if waits || reached.is_beyond(&progress) {
                        progress = reached;
                    } else if now.since(progress.at) >= READ_STALL_MAX {
                        return Err(Closed::ReadStalled(now.since(progress.at)));
                    }
                    if idle >= idle_max {
                        return Err(Closed::Idle(idle));
                    }
                    parked = idle >= BUFFER_IDLE_MAX && self.buffer.is_empty();
                    if parked {
                        self.buffer = BytesMut::new();
                        self.read_bytes = READ_BYTES_MIN;
                    }
                    let end = active.after(idle_max);
                    let look = if parked { end } else { now.after(BUFFER_IDLE_MAX).min(end) };
                    quiet.set(clock.sleep_until(look));
                }
            }
        }
    }

    /// A read that filled its buffer left something behind, perhaps: the next one makes more room.
    fn adapt(&mut self, count: usize) {
        if self.buffer.len() == self.buffer.capacity() && count >= self.read_bytes {
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_MAX);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }

    async fn next_event(
        &mut self,
        wanted: Wanted,
        quiet: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Event {
        let (budget, shutdown) = (&self.shared.budget, &self.shared.shutdown);
        let stopping = shutdown.is_set();
        let in_flight = &mut self.in_flight;
        let busy = !in_flight.is_empty();
        let buffer = &mut self.buffer;
        let (read, fund) = match wanted {
            Wanted::Bytes(count) => {
                // A parked connection holds no buffer: its first read is short.
                if buffer.capacity() > 0 || !buffer.is_empty() {
                    buffer.reserve(count.max(self.read_bytes));
                }
                (true, 0)
            }
            Wanted::Budget(bytes) => (false, bytes),
            Wanted::Turn => (false, 0),
        };
        tokio::select! {
            biased;
            () = poll_fn(|cx| poll_oldest(in_flight, cx)), if busy => Event::Answered,
            read = self.reader.read_buf(buffer), if read && !stopping => Event::Read(read),
            share = budget.take(fund), if fund > 0 && !stopping => Event::Funded(share),
            () = shutdown.wait(), if !stopping => Event::Shutdown,
            () = quiet => Event::Quiet,
        }
    }

    /// Starts every request whose frame is whole and whose turn it is.
    async fn start_requests(&mut self) -> Result<Wanted, Closed> {
        loop {
            let Some(head) = self.buffer.first_chunk::<4>() else {
                return Ok(Wanted::Bytes(4 - self.buffer.len()));
            };
            let (size, size_max) = (i32::from_be_bytes(*head), self.shared.limits.frame_bytes_max);
            if size <= 0 || size > size_max {
                return Err(Closed::FrameSize { size, size_max });
            }
            let size = size as usize;
            if self.share.is_none() {
                self.share = self.shared.budget.try_take(size);
                if self.share.is_none() {
                    return Ok(Wanted::Budget(size));
                }
            }
            if self.buffer.len() < 4 + size {
                return Ok(Wanted::Bytes(4 + size - self.buffer.len()));
            }
            let is = |api: ApiKey| self.buffer[4..].starts_with(&(api as i16).to_be_bytes());
            let (is_produce, is_fetch) = (is(ApiKey::Produce), is(ApiKey::Fetch));
            let overlaps = !self.client.checking.load(Ordering::Acquire)
                && self.in_flight.iter().all(|other| other.is_produce && is_produce);
            if !overlaps || self.in_flight.len() >= PIPELINED_MAX {
                return Ok(Wanted::Turn);
            }
            self.buffer.advance(4);
            let frame = self.buffer.split_to(size).freeze();
            self.frames += 1;
            let (pending, share) = self.start(frame).await;
            let in_flight = InFlight { pending, is_produce, is_fetch, _share: share };
            self.in_flight.push_back(in_flight);
        }
    }

    /// Runs a request as far as it gets: a Produce appends here, before the next one is looked at.
    async fn start(&mut self, frame: Bytes) -> (Pending<E>, Share) {
        let share = self.share.take().expect("taken before the frame was read");
        let (broker, client) = (self.shared.broker.clone(), self.client.clone());
        let mut handling = api::handle(broker, client, frame);
        let pending = match poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
            Poll::Ready(answer) => Pending::Ready(answer),
            Poll::Pending => Pending::Waiting(handling),
        };
        (pending, share)
    }

    /// Writes the answers that are ready, up to the first that is not.
    async fn write_answers(&mut self) -> Result<(), Closed> {
        let mut slices = VecDeque::new();
        let mut done = Vec::new();
        loop {
            let in_flight = &mut self.in_flight;
            if !poll_fn(|cx| Poll::Ready(poll_oldest(in_flight, cx).is_ready())).await {
                break;
            }
            let oldest = self.in_flight.pop_front().expect("looked at above");
            let Pending::Ready(answer) = oldest.pending else {
                unreachable!("polled to its end above")
            };
            done.push(oldest._share);
            match answer {
                Answer::Nothing => {}
                Answer::Refuse(refusal) => {
                    self.write_all(&mut slices).await?;
                    return Err(Closed::Refused(refusal));
                }
                Answer::Reply(reply) => self.write_reply(reply, &mut slices).await?,
            }
        }
        self.write_all(&mut slices).await
    }

    /// Leaves the last bytes in `slices`, to go out with what follows.
    async fn write_reply(
        &mut self,
        reply: Reply<E>,
        slices: &mut VecDeque<Bytes>,
    ) -> Result<(), Closed> {
        let mut regions = reply.regions.into_iter();
        for piece in reply.encoded.pieces {
            match piece {
                Piece::Bytes(bytes) => slices.push_back(bytes),
                Piece::Hole(len) => {
                    let region = regions.next().expect("a hole was left for each region");
                    assert_eq!(region.len, len, "the hole was measured for this region");
                    self.write_all(slices).await?;
                    self.write_region(region).await?;
                }
            }
        }
        assert!(regions.next().is_none(), "a hole was left for each region");
        Ok(())
    }

    async fn write_region(&mut self, region: api::Region<E>) -> Result<(), Closed> {
        let env = self.shared.env.clone();
        let (mut at, end) = (region.at, region.at + region.len);
        while at < end {
            let len = REGION_CHUNK_BYTES.min(end - at);
            let sending = env.send_file(&mut self.writer, &region.file, at, len);
            match env.clock().timeout(WRITE_STALL_MAX, sending).await {
                Ok(sent) => sent?,
                Err(Elapsed) => return Err(Closed::WriteStalled(WRITE_STALL_MAX)),
            }
            at += len;
        }
        Ok(())
    }

    async fn write_all(&mut self, slices: &mut VecDeque<Bytes>) -> Result<(), Closed> {
        while !slices.is_empty() {
            let mut vector = [IoSlice::new(&[]); SLICES_MAX];
            let count = slices.len().min(SLICES_MAX);
            for (slot, slice) in vector.iter_mut().zip(slices.iter()) {
                *slot = IoSlice::new(slice);
            }
            let writing = self.writer.write_vectored(&vector[..count]);
            let clock = self.shared.env.clock();
            let mut written = match clock.timeout(WRITE_STALL_MAX, writing).await {
                Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => written?,
                Err(Elapsed) => return Err(Closed::WriteStalled(WRITE_STALL_MAX)),
            };
            while let Some(front) = slices.front_mut() {
                if front.len() > written {
                    front.advance(written);
                    break;
                }
                written -= front.len();
                slices.pop_front();
            }
        }
        Ok(())
    }
}

/// Ready when the oldest request has its answer.
fn poll_oldest<E: Env>(in_flight: &mut VecDeque<InFlight<E>>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(oldest) = in_flight.front_mut() else { return Poll::Pending };
    if let Pending::Waiting(handling) = &mut oldest.pending {
        match handling.as_mut().poll(cx) {
            Poll::Ready(answer) => oldest.pending = Pending::Ready(answer),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(())
}
