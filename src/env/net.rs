//! What we ask of a network, and what we do not believe about it.
//!
//! 1. A connection carries bytes in order, or breaks. A write that returned says nothing about the
//!    peer having read it.
//! 2. Reads and writes may be short, and split anywhere.
//! 3. A peer that vanished may look alive for ever: only our own timers notice.
//! 4. `connect` may hang.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

pub trait Net: Clone + Send + Sync + 'static {
    type Conn: Conn;
    type Listener: Listener<Conn = Self::Conn>;

    /// The addresses of a name, in the order to try them.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Backlog of at least 1024. Port 0 draws a free one. An IPv6 address takes no IPv4
    /// connections: who wants both listens twice.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Conn>> + Send;
}

pub trait Listener: Send + Sync + 'static {
    type Conn: Conn;

    fn local(&self) -> SocketAddr;

    /// An error says that the machine has no room for another (file descriptors, memory): the
    /// caller pauses and goes on. Peers that vanished are passed over.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Conn>> + Send;
}

/// A stream both ways, without Nagle's delay. Vectored writes are worth while.
pub trait Conn: Send + 'static {
    type Reader: AsyncRead + Unpin + Send + Sync + 'static;
    type Writer: AsyncWrite + Unpin + Send + Sync + 'static;

    fn peer(&self) -> SocketAddr;
    fn local(&self) -> SocketAddr;
    fn split(self) -> (Self::Reader, Self::Writer);
}
