//! A network that keeps only what it promised: see the contract in `src/env/net.rs`.
//!
//! `wires` moves the bytes; here it looks like sockets to one process. A process that was killed
//! finds its listeners gone and its sockets closed.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ottla::env::net::{Conn, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::socket::Socket;
use self::wires::Wires;

pub mod end;
pub mod link;
pub mod socket;
pub mod trouble;
pub mod wires;

#[cfg(test)]
mod tests;

/// Hosts live in 10.0.0.0/16, the first at 10.0.0.1.
pub fn address_of(host: usize) -> IpAddr {
    let number = host as u32 + 1;
    IpAddr::V4(Ipv4Addr::from(10 << 24 | number))
}

/// The host at `ip`, as `me` sees it: every loopback is one's own.
pub fn host_of(ip: IpAddr, me: usize) -> Option<usize> {
    if ip.is_loopback() || ip.is_unspecified() {
        return Some(me);
    }
    match ip {
        IpAddr::V4(v4) => (v4.to_bits() & 0xffff).checked_sub(1).map(|host| host as usize),
        IpAddr::V6(_) => None,
    }
}

/// The network as one process sees it.
#[derive(Clone)]
pub struct SimNet {
    wires: Wires,
    host: usize,
}

impl SimNet {
    pub fn new(wires: &Wires, host: usize) -> SimNet {
        SimNet { wires: wires.clone(), host }
    }
}

impl Net for SimNet {
    type Conn = SimConn;
    type Listener = SimListener;

    /// Knows addresses, `localhost`, and the names `host-0`, `host-1` and so on.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let numbered = || host.strip_prefix("host-").and_then(|number| number.parse().ok());
        let ip = match host.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) if host == "localhost" => Ipv4Addr::LOCALHOST.into(),
            Err(_) => numbered().map(address_of).ok_or(io::ErrorKind::NotFound)?,
        };
        Ok(vec![SocketAddr::new(ip, port)])
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<SimListener> {
        // There is no IPv6 here.
        if at.is_ipv6() || host_of(at.ip(), self.host) != Some(self.host) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let (port, id) = self.wires.listen(self.host, at.port())?;
        Ok(SimListener { wires: self.wires.clone(), id, local: SocketAddr::new(at.ip(), port) })
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<SimConn> {
        Ok(SimConn { socket: self.wires.connect(self.host, to).await? })
    }
}

pub struct SimListener {
    wires: Wires,
    id: u64,
    local: SocketAddr,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.wires.stop_listening(self.id);
    }
}

impl Listener for SimListener {
    type Conn = SimConn;

    fn local(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&self) -> io::Result<SimConn> {
        let accepted = |cx: &mut Context<'_>| self.wires.poll_accept(self.id, cx);
        Ok(SimConn { socket: std::future::poll_fn(accepted).await? })
    }
}

pub struct SimConn {
    socket: Socket,
}

impl Conn for SimConn {
    type Reader = SimReader;
    type Writer = SimWriter;

    fn peer(&self) -> SocketAddr {
        self.socket.peer()
    }

    fn local(&self) -> SocketAddr {
        self.socket.local()
    }

    fn split(self) -> (SimReader, SimWriter) {
        let socket = Arc::new(self.socket);
        (SimReader { socket: socket.clone() }, SimWriter { socket })
    }
}

pub struct SimReader {
    socket: Arc<Socket>,
}

impl AsyncRead for SimReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read(into, cx)
    }
}

/// Dropped alone it ends the stream, as tokio's does.
pub struct SimWriter {
    socket: Arc<Socket>,
}

impl AsyncWrite for SimWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write(data, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let data = parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat();
        self.socket.poll_write(&data, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        self.socket.finish();
    }
}
