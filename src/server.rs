//! From addresses to connections: opens the listeners, lets clients in, drains them at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::{debug, warn};

use crate::api::Client;
use crate::broker::Broker;
use crate::config::listener::{Bind, Endpoint};
use crate::env::clock::Clock;
use crate::env::net::{Conn, Listener, Net};
use crate::env::{ConnOf, Env};

use self::budget::Budget;
use self::connection::Connection;
use self::connections::{Connections, Place};
use self::shutdown::Shutdown;

mod budget;
mod connection;
mod connections;
pub mod node;
pub mod shutdown;
#[cfg(test)]
mod tests;

/// How long to wait before accepting again when the system refuses, of descriptors perhaps.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {name}://{host}:{port}: {error}{}", hint(.error))]
pub struct ListenError {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ". Another process uses this port: stop it, or choose another with --listen HOST:PORT"
        }
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need privileges: choose another",
        io::ErrorKind::AddrNotAvailable => ". This machine has no such address",
        _ => "",
    }
}

/// A listener that is open: its sockets share a port.
pub struct Bound<E: Env> {
    pub name: Arc<str>,
    sockets: Vec<<E::Net as Net>::Listener>,
}

impl<E: Env> Bound<E> {
    /// The addresses, which share a port.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.local()).collect()
    }
}

/// Limits that hold for each connection or for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub frame_bytes_max: i32,
    /// `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// `queued.max.request.bytes`.
    pub queued_bytes_max: usize,
    /// How long a stop waits for answers that are on their way.
    pub drain_max: Duration,
}

/// What every connection shares.
struct Shared<E: Env> {
    env: E,
    broker: Arc<Broker<E>>,
    limits: Limits,
    budget: Budget,
    connections: Connections,
    shutdown: Shutdown,
}

/// Opens a listener. Where `localhost` has no IPv6, IPv4 alone will do.
pub async fn bind<E: Env>(env: &E, at: &Endpoint) -> Result<Bound<E>, ListenError> {
    match bind_all::<E>(env, at).await {
        Ok(sockets) => Ok(Bound { name: at.listener.as_str().into(), sockets }),
        Err(error) => {
            let Endpoint { listener: name, host, port } = at.clone();
            Err(ListenError { name, host, port, error })
        }
    }
}

/// All sockets get the port that the first one was given.
async fn bind_all<E: Env>(env: &E, at: &Endpoint) -> io::Result<Vec<<E::Net as Net>::Listener>> {
    let addresses = match at.bind() {
        Bind::Addresses(addresses) => addresses,
        Bind::Name { host, port } => env.net().resolve(&host, port).await?,
    };
    let mut sockets: Vec<<E::Net as Net>::Listener> = Vec::new();
    for address in addresses {
        let port = sockets.first().map_or(address.port(), |first| first.local().port());
        let at = SocketAddr::new(address.ip(), port);
        if sockets.iter().any(|socket| socket.local() == at) {
            continue;
        }
        match env.net().listen(at).await {
            Ok(socket) => sockets.push(socket),
            Err(error) if !sockets.is_empty() && error.kind() != io::ErrorKind::AddrInUse => {
                debug!(%at, %error, "this machine lacks the address, listening without it");
            }
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"));
    }
    Ok(sockets)
}

/// A server that lets clients in until it is told to stop.
pub struct Server<E: Env> {
    shared: Arc<Shared<E>>,
}

impl<E: Env> Server<E> {
    /// Accepts on every listener from now on.
    pub fn start(
        env: &E,
        broker: Arc<Broker<E>>,
        limits: Limits,
        listeners: Vec<Bound<E>>,
    ) -> Server<E> {
        let shared = Arc::new(Shared {
            env: env.clone(),
            broker,
            budget: Budget::new(limits.queued_bytes_max),
            connections: Connections::default(),
            limits,
            shutdown: Shutdown::default(),
        });
        for Bound { name, sockets } in listeners {
            for socket in sockets {
                env.spawn("accept", accept(shared.clone(), name.clone(), socket));
            }
        }
        Server { shared }
    }

    /// Lets nobody in any more, reads no further requests, writes the answers that are due, and
    /// returns when every connection is closed or waiting for them has lasted too long.
    pub async fn stop(&self) {
        self.shared.shutdown.set();
        let drained = self.shared.connections.all_closed();
        let drain_max = self.shared.limits.drain_max;
        if self.shared.env.clock().timeout(drain_max, drained).await.is_err() {
            warn!("connections still open after {drain_max:?}, closing without them");
        }
    }
}

async fn accept<E: Env>(
    shared: Arc<Shared<E>>,
    listener: Arc<str>,
    socket: <E::Net as Net>::Listener,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.wait() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(conn) => admit(&shared, &listener, conn),
            Err(error) => {
                warn!(%listener, %error, "cannot accept a connection");
                shared.env.clock().sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit<E: Env>(shared: &Arc<Shared<E>>, listener: &Arc<str>, conn: ConnOf<E>) {
    let peer = conn.peer();
    match shared.connections.enter(peer.ip(), &shared.broker.settings().config) {
        Ok(place) => {
            debug!(%peer, %listener, "connected");
            shared.env.spawn("connection", serve(shared.clone(), listener.clone(), conn, place));
        }
        Err(full) => warn!(%peer, %listener, %full, "connection refused"),
    }
}

async fn serve<E: Env>(shared: Arc<Shared<E>>, listener: Arc<str>, conn: ConnOf<E>, place: Place) {
    let peer = conn.peer();
    let client = Arc::new(Client {
        peer,
        listener,
        software: OnceLock::new(),
        checking: AtomicBool::new(false),
    });
    let closed = Connection::new(shared, conn, client.clone()).run().await;
    let software = client.software.get().map(|(name, version)| format!("{name} {version}"));
    if closed.is_ordinary() {
        debug!(%peer, software, why = %closed, "disconnected");
    } else {
        warn!(%peer, software, why = %closed, "connection closed");
    }
    drop(place);
}
