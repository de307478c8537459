//! A network in memory: pipes of bounded size, which count what goes through them. One read takes
//! all there is, as far as its buffer goes, and one write all there is room for.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::env::net::{Conn, Listener, Net};

/// On its way in one direction, as in a socket's buffers.
pub const PIPE_BYTES: usize = 256 << 10;
const BACKLOG: usize = 1024;

#[derive(Clone, Default)]
pub struct MemoryNet(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listeners: BTreeMap<SocketAddr, mpsc::Sender<MemoryConn>>,
    ports_drawn: u16,
}

pub struct MemoryListener {
    local: SocketAddr,
    waiting: tokio::sync::Mutex<mpsc::Receiver<MemoryConn>>,
}

pub struct MemoryConn {
    local: SocketAddr,
    peer: SocketAddr,
    reader: MemoryReader,
    writer: MemoryWriter,
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    bytes: BytesMut,
    /// One of its ends is gone.
    is_cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    reads: u64,
    writes: u64,
}

pub struct MemoryReader(Pipe);

pub struct MemoryWriter(Pipe);

impl Pipe {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }

    fn cut(&self) {
        let mut contents = self.contents();
        contents.is_cut = true;
        let Contents { reader, writer, .. } = &mut *contents;
        reader.take().into_iter().chain(writer.take()).for_each(Waker::wake);
    }
}

impl MemoryReader {
    /// How often the other side has written.
    pub fn writes(&self) -> u64 {
        self.0.contents().writes
    }
}

impl MemoryWriter {
    /// How often the other side has read.
    pub fn reads(&self) -> u64 {
        self.0.contents().reads
    }
}

impl MemoryNet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn draw_port(&self) -> u16 {
        let mut state = self.state();
        state.ports_drawn += 1;
        49_151 + state.ports_drawn
    }
}

impl Net for MemoryNet {
    type Conn = MemoryConn;
    type Listener = MemoryListener;

    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))])
    }

    async fn listen(&self, mut at: SocketAddr) -> io::Result<MemoryListener> {
        if at.port() == 0 {
            at.set_port(self.draw_port());
        }
        let (sender, waiting) = mpsc::channel(BACKLOG);
        if self.state().listeners.insert(at, sender).is_some_and(|other| !other.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(MemoryListener { local: at, waiting: tokio::sync::Mutex::new(waiting) })
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<MemoryConn> {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, self.draw_port()));
        let (there, back) = (Pipe::default(), Pipe::default());
        let conn = |local, peer, reads: &Pipe, writes: &Pipe| MemoryConn {
            local,
            peer,
            reader: MemoryReader(reads.clone()),
            writer: MemoryWriter(writes.clone()),
        };
        let (ours, theirs) = (conn(from, to, &back, &there), conn(to, from, &there, &back));
        let listener = self.state().listeners.get(&to).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        listener.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }
}

impl Listener for MemoryListener {
    type Conn = MemoryConn;

    fn local(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&self) -> io::Result<MemoryConn> {
        self.waiting.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl Conn for MemoryConn {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn split(self) -> (MemoryReader, MemoryWriter) {
        (self.reader, self.writer)
    }
}

impl AsyncRead for MemoryReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut contents = self.0.contents();
        if contents.bytes.is_empty() && !contents.is_cut {
            contents.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = contents.bytes.len().min(into.remaining());
        into.put_slice(&contents.bytes[..count]);
        contents.bytes.advance(count);
        contents.reads += 1;
        contents.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut contents = self.0.contents();
        if contents.is_cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let (before, mut room) = (contents.bytes.len(), PIPE_BYTES - contents.bytes.len());
        if room == 0 {
            contents.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for part in parts {
            let count = part.len().min(room);
            contents.bytes.extend_from_slice(&part[..count]);
            room -= count;
        }
        contents.writes += 1;
        contents.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(contents.bytes.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.cut();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.0.cut();
    }
}
