//! The network between the hosts: every connection as two streams of segments on their way.
//!
//! A state machine that the agenda drives: segments arrive at drawn times, in order, wait behind a
//! cut with TCP's doubling retries, and run into hosts that are off (silence) or whose process is
//! gone (a reset). A window bounds what a sender may have out that the receiver has not read.
//!
//! Invariant: bytes come out in the order they went in, each once, or the connection breaks.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::end::{End, Life, Load, RETRY_FIRST, Segment, wake};
use super::link::Links;
use super::socket::Socket;
use crate::agenda::Agenda;
use crate::chance::{Chance, Subsystem};
use crate::trace::{Trace, What};

const BACKLOG_LEN_MAX: usize = 1024;

#[derive(Clone)]
pub struct Wires {
    pub agenda: Agenda,
    trace: Arc<Trace>,
    seed: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    hosts: Vec<Host>,
    pub(super) links: Links,
    listeners: BTreeMap<(usize, u16), Backlog>,
    pub(super) connections: BTreeMap<u64, [End; 2]>,
    connections_made: u64,
    handshakes: u64,
    listeners_made: u64,
}

struct Host {
    powered: bool,
}

struct Backlog {
    /// Tells a listener from an earlier one of a process that was killed.
    id: u64,
    waiting: VecDeque<Socket>,
    acceptor: Option<Waker>,
}

impl Wires {
    pub fn new(agenda: Agenda, trace: Arc<Trace>, seed: u64) -> Wires {
        Wires { agenda, trace, seed, state: Arc::default() }
    }

    /// Adds a host, off. Its address is `address_of` its index.
    pub fn add_host(&self) -> usize {
        let mut state = self.state();
        let index = state.hosts.len();
        state.hosts.push(Host { powered: false });
        index
    }

    pub fn power_on(&self, host: usize) {
        self.state().hosts[host].powered = true;
    }

    /// What the nemesis turns.
    pub fn with_links<R>(&self, turn: impl FnOnce(&mut Links) -> R) -> R {
        turn(&mut self.state().links)
    }

    /// The kernel closes what the process had open: EOF for the peer, or a reset when there was
    /// something left unread.
    pub fn process_crash(&self, host: usize) {
        let mut state = self.state();
        let listeners = state.take_listeners(|at, _| at == host);
        for (id, side) in state.ends_of(host) {
            self.close(&mut state, id, side);
        }
        drop(state);
        drop(listeners);
    }

    /// Silence. Peers find out when they send something after the host is back, or never.
    pub fn power_loss(&self, host: usize) {
        let mut state = self.state();
        state.hosts[host].powered = false;
        let listeners = state.take_listeners(|at, _| at == host);
        for (id, side) in state.ends_of(host) {
            let end = &mut state.connections.get_mut(&id).expect("just listed")[side];
            end.life = Life::Forgotten;
            end.received.clear();
            if end.chance.happens(0.5) {
                end.wire.clear();
            }
            state.reap(id);
        }
        drop(state);
        drop(listeners);
    }

    #[cfg_attr(not(test), allow(dead_code, reason = "tests look"))]
    pub fn connections(&self) -> usize {
        self.state().connections.len()
    }

    // What sockets ask for.

    /// The port, and the listener's name for itself.
    pub fn listen(&self, host: usize, port: u16) -> io::Result<(u16, u64)> {
        let mut state = self.state();
        let taken = |port: &u16| state.listeners.contains_key(&(host, *port));
        let port = match port {
            0 => (32768..=60999).find(|port| !taken(port)).ok_or(ErrorKind::AddrInUse)?,
            port if taken(&port) => return Err(ErrorKind::AddrInUse.into()),
            port => port,
        };
        state.listeners_made += 1;
        let id = state.listeners_made;
        let backlog = Backlog { id, waiting: VecDeque::new(), acceptor: None };
        state.listeners.insert((host, port), backlog);
        Ok((port, id))
    }

    pub fn stop_listening(&self, listener: u64) {
        let stopped = self.state().take_listeners(|_, backlog| backlog.id == listener);
        drop(stopped);
    }

    pub fn poll_accept(&self, listener: u64, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let mut state = self.state();
        let found = state.listeners.values_mut().find(|backlog| backlog.id == listener);
        let Some(backlog) = found else {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        };
        match backlog.waiting.pop_front() {
            Some(socket) => Poll::Ready(Ok(socket)),
            None => {
                backlog.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// SYN, SYN-ACK, ACK: a cut, a dead host or a full backlog is silence, a missing listener a
    /// refusal.
    pub async fn connect(&self, host: usize, to: SocketAddr) -> io::Result<Socket> {
        let peer = super::host_of(to.ip(), host).ok_or(ErrorKind::HostUnreachable)?;
        let (begun, mut retry) = (self.agenda.now(), Duration::from_secs(1));
        let (there, back) = {
            let mut state = self.state();
            state.handshakes += 1;
            let (node, count) = (host as u64, state.handshakes);
            let mut chance = Chance::stream(self.seed, Subsystem::Net, node, count << 32);
            let there = state.links.latency(host, peer, &mut chance);
            (there, state.links.latency(peer, host, &mut chance))
        };
        loop {
            self.agenda.sleep(there).await;
            if self.state().answers(host, peer, to.port()) {
                break;
            }
            if self.agenda.now() - begun > Duration::from_secs(127) {
                return Err(ErrorKind::TimedOut.into());
            }
            self.agenda.sleep(retry).await;
            retry *= 2;
        }
        self.agenda.sleep(back).await;
        self.establish(host, peer, to)
    }

    fn establish(&self, host: usize, peer: usize, to: SocketAddr) -> io::Result<Socket> {
        let mut state = self.state();
        if !state.listeners.contains_key(&(peer, to.port())) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        state.connections_made += 1;
        let id = state.connections_made;
        let local = SocketAddr::new(super::address_of(host), 10_000 + (id % 20_000) as u16);
        let accepted = SocketAddr::new(super::address_of(peer), to.port());
        let end = |side, host, address| {
            let mut chance = Chance::stream(self.seed, Subsystem::Net, id << 1 | side, 1 << 40);
            let is_tiny = state.links.has_tiny_window(&mut chance);
            End::new(host, address, chance, is_tiny)
        };
        let ends = [end(0, host, local), end(1, peer, accepted)];
        state.connections.insert(id, ends);
        let backlog = state.listeners.get_mut(&(peer, to.port())).expect("checked above");
        backlog.waiting.push_back(Socket::new(self, id, 1));
        if let Some(acceptor) = backlog.acceptor.take() {
            acceptor.wake();
        }
        self.record(format!("connection {id} from {local} to {accepted}"));
        Ok(Socket::new(self, id, 0))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, what: impl Into<What>) {
        self.trace.record(self.agenda.now(), "net", what);
    }

    // What happens to a connection.

    /// Puts a load on the wire of `side`.
    pub(super) fn send(&self, state: &mut State, id: u64, side: usize, mut load: Load) {
        let Some(ends) = state.connections.get_mut(&id) else { return };
        let end = &mut ends[side];
        if let (Some(left), Load::Data(data)) = (end.severed_after, &mut load) {
            end.severed_after = left.checked_sub(data.len());
            data.truncate(left);
            if end.severed_after.is_none() {
                self.put(state, id, side, load);
                self.put(state, id, side, Load::Finish);
                return state.sever(id, side);
            }
        }
        self.put(state, id, side, load);
    }

    fn put(&self, state: &mut State, id: u64, side: usize, load: Load) {
        let Some(ends) = state.connections.get_mut(&id) else { return };
        let (from, to) = (ends[side].host, ends[1 - side].host);
        let end = &mut ends[side];
        let now = self.agenda.now();
        let len = match &load {
            Load::Data(data) => data.len(),
            Load::Finish => 0,
        };
        end.departs = end.departs.max(now) + state.links.transmission(from, to, len);
        let arrival = end.departs + state.links.latency(from, to, &mut end.chance);
        end.arrives = end.arrives.max(arrival);
        end.wire.push_back(Segment { at: end.arrives, load });
        self.pump_later(end, id, side);
    }

    fn pump_later(&self, end: &mut End, id: u64, side: usize) {
        let Some(head) = end.wire.front() else { return };
        if !end.pumping {
            end.pumping = true;
            self.pump_at(head.at, id, side);
        }
    }

    fn pump_at(&self, at: Duration, id: u64, side: usize) {
        let wires = self.clone();
        self.agenda.run_at(at, move || wires.pump(id, side));
    }

    /// Delivers what has arrived from `side`, or tries again later.
    fn pump(&self, id: u64, side: usize) {
        let mut state = self.state();
        let now = self.agenda.now();
        loop {
            let Some(ends) = state.connections.get(&id) else { return };
            let (from, to) = (ends[side].host, ends[1 - side].host);
            let blocked = state.links.is_cut(from, to)
                || !state.hosts[to].powered
                || now < ends[side].held_until;
            let end = &mut state.connections.get_mut(&id).expect("just looked")[side];
            end.pumping = false;
            let Some(head) = end.wire.front() else { break };
            if head.at > now {
                self.pump_later(end, id, side);
                return;
            }
            if blocked && end.life == Life::Forgotten {
                // Nobody is left to send it again.
                end.wire.clear();
                break;
            }
            if blocked {
                match end.next_retry(now) {
                    Some(retry) => {
                        end.pumping = true;
                        self.pump_at(now + retry, id, side);
                        return;
                    }
                    None => {
                        state.break_end(id, side, ErrorKind::TimedOut);
                        break;
                    }
                }
            }
            end.stalled_since = None;
            end.retry = RETRY_FIRST;
            let segment = end.wire.pop_front().expect("just looked");
            self.deliver(&mut state, id, 1 - side, segment.load);
        }
        state.reap(id);
    }

    fn deliver(&self, state: &mut State, id: u64, side: usize, load: Load) {
        let Some(ends) = state.connections.get_mut(&id) else { return };
        let end = &mut ends[side];
        match (end.life, load) {
            (Life::Open, Load::Data(data)) => {
                let (to, bytes) = (end.address, data.len() as u64);
                self.record(What::Arrive { connection: id, to, bytes });
                end.received.push_back(data);
                wake(&mut end.reader);
            }
            (Life::Open, Load::Finish) => {
                self.record(format!("end of stream to {} on {id}", end.address));
                end.peer_finished = true;
                wake(&mut end.reader);
            }
            (Life::Closed, Load::Finish) => {}
            // Nobody here knows this connection.
            (Life::Closed | Life::Forgotten, _) => self.send_reset(state, id, side),
        }
    }

    /// A reset is sent once; when a cut swallows it the peer hears nothing.
    fn send_reset(&self, state: &mut State, id: u64, side: usize) {
        let Some(ends) = state.connections.get_mut(&id) else { return };
        let (from, to) = (ends[side].host, ends[1 - side].host);
        let latency = state.links.latency(from, to, &mut ends[side].chance);
        let wires = self.clone();
        self.agenda.run_after(latency, move || {
            let mut state = wires.state();
            if !state.links.is_cut(from, to) && state.connections.contains_key(&id) {
                wires.record(format!("reset on {id}"));
                state.break_end(id, 1 - side, ErrorKind::ConnectionReset);
            }
            state.reap(id);
        });
    }

    pub(super) fn close(&self, state: &mut State, id: u64, side: usize) {
        let Some(ends) = state.connections.get_mut(&id) else { return };
        let end = &mut ends[side];
        if end.life != Life::Open {
            return;
        }
        end.life = Life::Closed;
        if !end.received.is_empty() {
            end.received.clear();
            end.wire.clear();
            self.send_reset(state, id, side);
        } else if !end.finished {
            end.finished = true;
            if end.broken.is_none() {
                self.send(state, id, side, Load::Finish);
            }
        }
        state.reap(id);
    }

    /// Tells the peer that there is room again.
    pub(super) fn report(&self, state: &mut State, id: u64, side: usize) {
        let Some(ends) = state.connections.get_mut(&id) else { return };
        if ends[side].reporting || ends[side].unreported == 0 {
            return;
        }
        ends[side].reporting = true;
        let (from, to) = (ends[side].host, ends[1 - side].host);
        let latency = state.links.latency(from, to, &mut ends[side].chance);
        self.report_after(latency, id, side);
    }

    fn report_after(&self, wait: Duration, id: u64, side: usize) {
        let wires = self.clone();
        self.agenda.run_after(wait, move || {
            let mut state = wires.state();
            let Some(ends) = state.connections.get(&id) else { return };
            let (from, to) = (ends[side].host, ends[1 - side].host);
            if ends[side].life == Life::Forgotten {
                return;
            }
            if state.links.is_cut(from, to) {
                return wires.report_after(RETRY_FIRST, id, side);
            }
            let ends = state.connections.get_mut(&id).expect("just looked");
            ends[side].reporting = false;
            let read = std::mem::take(&mut ends[side].unreported);
            let peer = &mut ends[1 - side];
            peer.out -= read.min(peer.out);
            wake(&mut peer.writer);
        });
    }
}

impl State {
    pub(super) fn ends_of(&self, host: usize) -> Vec<(u64, usize)> {
        let open = |end: &End| end.host == host && end.life == Life::Open;
        let sides = self.connections.iter().flat_map(|(id, ends)| {
            ends.iter().enumerate().map(move |(side, end)| (*id, side, end))
        });
        sides.filter(|(_, _, end)| open(end)).map(|(id, side, _)| (id, side)).collect()
    }

    /// To be dropped when the state is unlocked: what waits in a backlog closes itself.
    fn take_listeners(&mut self, taken: impl Fn(usize, &Backlog) -> bool) -> Vec<Backlog> {
        self.listeners
            .extract_if(.., |(host, _), backlog| taken(*host, backlog))
            .map(|(_, b)| b)
            .collect()
    }

    /// Does a SYN reach the host and its answer come back?
    fn answers(&self, from: usize, to: usize, port: u16) -> bool {
        let Some(host) = self.hosts.get(to) else { return false };
        let backlog = self.listeners.get(&(to, port));
        let room = backlog.is_none_or(|backlog| backlog.waiting.len() < BACKLOG_LEN_MAX);
        let cut = self.links.is_cut(from, to) || self.links.is_cut(to, from);
        host.powered && room && !cut && !self.links.connects_hang(from, to)
    }

    pub(super) fn break_end(&mut self, id: u64, side: usize, why: ErrorKind) {
        let Some(ends) = self.connections.get_mut(&id) else { return };
        let end = &mut ends[side];
        end.broken.get_or_insert(why);
        end.wire.clear();
        if end.chance.happens(0.5) {
            end.received.clear();
        }
        wake(&mut end.reader);
        wake(&mut end.writer);
    }

    /// Forgets a connection that both sides are done with.
    pub(super) fn reap(&mut self, id: u64) {
        let done = |end: &End| end.life != Life::Open && end.wire.is_empty();
        if self.connections.get(&id).is_some_and(|ends| ends.iter().all(done)) {
            self.connections.remove(&id);
        }
    }
}
