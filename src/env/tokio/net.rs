//! Sockets: no Nagle, keepalive on, a long backlog.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::env::net::{Conn, Listener, Net};

/// Connections the kernel keeps for us until we accept them; it may allow fewer
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A peer that is silent so long is asked whether it lives: idle clients behind a firewall stay,
/// vanished ones go.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct TokioNet;

impl Net for TokioNet {
    type Conn = TokioConn;
    type Listener = TokioListener;

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
        }
        Ok(addresses)
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TokioListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        if at.is_ipv6() {
            // So that [::1] and 127.0.0.1, or [::] and 0.0.0.0, can both have the port.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(TokioListener { local: socket.local_addr()?, socket })
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TokioConn> {
        TokioConn::new(TcpStream::connect(to).await?, to)
    }
}

#[derive(Debug)]
pub struct TokioListener {
    socket: TcpListener,
    local: SocketAddr,
}

impl Listener for TokioListener {
    type Conn = TokioConn;

    fn local(&self) -> SocketAddr {
        self.local
    }

    /// A peer that was gone before we could look at it is no error: the next one is taken.
    async fn accept(&self) -> io::Result<TokioConn> {
        loop {
            let (stream, peer) = self.socket.accept().await?;
            if let Ok(conn) = TokioConn::new(stream, peer) {
                return Ok(conn);
            }
        }
    }
}

#[derive(Debug)]
pub struct TokioConn {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
}

impl TokioConn {
    fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<TokioConn> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let unknown = || SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let local = stream.local_addr().unwrap_or_else(|_| unknown());
        Ok(TokioConn { stream, peer, local })
    }
}

impl Conn for TokioConn {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.stream.into_split()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::net::Ipv6Addr;

    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    async fn pair() -> (TokioConn, TokioConn) {
        let listener = TokioNet.listen(ANY_PORT).await.unwrap();
        let (ours, theirs) = tokio::join!(TokioNet.connect(listener.local()), listener.accept());
        (ours.unwrap(), theirs.unwrap())
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_and_the_end_is_seen() {
        let (ours, theirs) = pair().await;
        assert_eq!(ours.peer(), theirs.local());
        assert_eq!(ours.local(), theirs.peer());
        let (_reader, mut writer) = ours.split();
        let (mut reader, _writer) = theirs.split();
        assert!(writer.is_write_vectored());
        let sent = writer.write_vectored(&[IoSlice::new(b"one "), IoSlice::new(b"two")]).await;
        assert_eq!(sent.unwrap(), 7);
        drop(writer);
        let mut received = String::new();
        reader.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "one two");
    }

    #[tokio::test]
    async fn connections_do_not_delay_small_writes_and_probe_silent_peers() {
        let (ours, theirs) = pair().await;
        for conn in [&ours, &theirs] {
            assert!(conn.stream.nodelay().unwrap());
            assert!(SockRef::from(&conn.stream).keepalive().unwrap());
        }
    }

    #[tokio::test]
    async fn both_loopbacks_can_have_one_port() {
        let v4 = TokioNet.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await.unwrap();
        let port = v4.local().port();
        match TokioNet.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
            Ok(v6) => assert_eq!(v6.local().port(), port),
            // A machine without IPv6.
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::AddrInUse, "{error}"),
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let first = TokioNet.listen(ANY_PORT).await.unwrap();
        let second = TokioNet.listen(first.local()).await;
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn hundreds_of_connections_wait_to_be_accepted() {
        let listener = TokioNet.listen(ANY_PORT).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..400 {
            let connected = TokioNet.connect(listener.local());
            let in_time = tokio::time::timeout(Duration::from_secs(10), connected).await;
            waiting.push(in_time.expect("the backlog takes it").unwrap());
        }
        for _ in 0..400 {
            listener.accept().await.unwrap();
        }
    }

    #[tokio::test]
    async fn names_have_addresses() {
        let found = TokioNet.resolve("localhost", 9092).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 9092));
    }
}
