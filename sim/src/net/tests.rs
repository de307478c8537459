//! Bytes arrive whole and in order or the connection breaks, and each trouble shows as it says.

use std::cell::Cell;
use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use madsim::runtime::{Handle, Runtime};
use ottla::env::net::{Conn, Listener, Net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::link::Trouble;
use super::wires::Wires;
use super::{SimConn, SimListener, SimNet, SimReader, SimWriter, address_of};
use crate::agenda::{Agenda, Sleep};
use crate::chance::{Chance, Subsystem};
use crate::trace::Trace;

const PORT: u16 = 9092;
const SECOND: Duration = Duration::from_secs(1);

/// Two hosts; the second listens.
struct Pair {
    wires: Wires,
    listener: SimListener,
}

fn with_pair<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Pair) -> F) {
    Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(async {
        let host = Handle::current().create_node().name("fabric").build();
        let agenda = Agenda::start(&host);
        let wires = Wires::new(agenda, Arc::new(Trace::default()), seed);
        for _ in 0..2 {
            let host = wires.add_host();
            wires.power_on(host);
        }
        let at = (address_of(1), PORT).into();
        let listener = SimNet::new(&wires, 1).listen(at).await.unwrap();
        test(Pair { wires, listener }).await;
    });
}

impl Pair {
    async fn connect(&self) -> SimConn {
        SimNet::new(&self.wires, 0).connect((address_of(1), PORT).into()).await.unwrap()
    }

    async fn connected(&self) -> ((SimReader, SimWriter), (SimReader, SimWriter)) {
        let client = self.connect().await;
        let server = self.listener.accept().await.unwrap();
        assert_eq!((client.peer(), client.local()), (server.local(), server.peer()));
        (client.split(), server.split())
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        self.wires.agenda.sleep(wait)
    }

    fn now(&self) -> Duration {
        self.wires.agenda.now()
    }

    /// Does it end within `wait`?
    async fn ends<T>(&self, wait: Duration, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(wait) => None,
        }
    }
}

fn chance() -> Chance {
    Chance::stream(1, Subsystem::Fault, 1, 0)
}

fn slow(latency_ms: u64, bytes_per_second: u64) -> Trouble {
    Trouble::Slow { latency: Duration::from_millis(latency_ms), bytes_per_second }
}

#[test]
fn a_stream_arrives_whole_and_in_order() {
    for seed in 0..20 {
        with_pair(seed, |pair| async move {
            let ((_, mut out), (mut into, _)) = pair.connected().await;
            let mut data = vec![0; 300_000];
            Chance::stream(seed, Subsystem::Workload, 0, 0).fill(&mut data);
            let reads = Cell::new(0);
            let write = async {
                out.write_all(&data).await.unwrap();
                out.shutdown().await.unwrap();
            };
            let read = async {
                let (mut received, mut chunk) = (vec![], vec![0; 50_000]);
                loop {
                    let len = into.read(&mut chunk).await.unwrap();
                    if len == 0 {
                        return received;
                    }
                    reads.set(reads.get() + 1);
                    received.extend_from_slice(&chunk[..len]);
                }
            };
            let ((), received) = tokio::join!(biased; write, read);
            assert!(received == data);
            assert!(reads.get() > 6, "only {} reads", reads.get());
        });
    }
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    with_pair(1, |pair| async move {
        let ((_, mut out), (mut into, _)) = pair.connected().await;
        let mut sent = 0;
        while let Some(wrote) = pair.ends(SECOND, out.write(&[7; 1000])).await {
            sent += wrote.unwrap();
        }
        assert!(sent <= 64 << 10, "{sent} bytes out, nobody reading");
        let mut chunk = vec![0; 30_000];
        into.read_exact(&mut chunk[..sent.min(30_000)]).await.unwrap();
        pair.ends(SECOND, out.write(&[7; 1000])).await.expect("there is room again").unwrap();
    });
}

#[test]
fn a_slow_link_takes_its_time() {
    with_pair(1, |pair| async move {
        pair.wires.with_links(|links| links.trouble(1, 0, 1, slow(0, 1000)));
        let ((_, mut out), (mut into, _)) = pair.connected().await;
        let begun = pair.now();
        out.write_all(&[0; 5000]).await.unwrap();
        into.read_exact(&mut [0; 5000]).await.unwrap();
        let took = pair.now() - begun;
        assert!(took > SECOND * 4 && took < SECOND * 6, "{took:?}");
    });
}

#[test]
fn a_cut_one_way_stalls_that_way_only_until_it_heals() {
    with_pair(1, |pair| async move {
        let ((mut a_in, mut a_out), (mut b_in, mut b_out)) = pair.connected().await;
        pair.wires.with_links(|links| links.trouble(1, 0, 1, Trouble::Cut));
        a_out.write_all(b"lost").await.unwrap();
        b_out.write_all(b"back").await.unwrap();
        a_in.read_exact(&mut [0; 4]).await.unwrap();
        let mut lost = [0; 4];
        assert!(pair.ends(SECOND * 60, b_in.read_exact(&mut lost)).await.is_none());
        pair.wires.with_links(|links| links.mend(1));
        pair.ends(SECOND * 6, b_in.read_exact(&mut lost)).await.expect("sent again").unwrap();
        assert_eq!(&lost, b"lost");
    });
}

#[test]
fn a_connect_across_a_cut_hangs_and_without_a_listener_is_refused() {
    with_pair(1, |pair| async move {
        let net = SimNet::new(&pair.wires, 0);
        let refused = net.connect((address_of(1), 1).into()).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        for cut in [(0, 1), (1, 0)] {
            pair.wires.with_links(|links| links.trouble(1, cut.0, cut.1, Trouble::Cut));
            let begun = pair.now();
            let hung = net.connect((address_of(1), PORT).into()).await.err().unwrap();
            assert_eq!(hung.kind(), ErrorKind::TimedOut);
            assert!(pair.now() - begun > SECOND * 60);
            pair.wires.with_links(|links| links.heal_all());
        }
        pair.wires.with_links(|links| links.trouble(2, 0, 1, Trouble::ConnectsHang));
        assert!(pair.ends(SECOND * 30, pair.connect()).await.is_none());
    });
}

#[test]
fn a_process_crash_ends_its_connections() {
    for unread in [false, true] {
        with_pair(1, |pair| async move {
            let ((mut a_in, mut a_out), server) = pair.connected().await;
            let waiting = pair.connect().await;
            if unread {
                a_out.write_all(b"never read").await.unwrap();
                pair.sleep(SECOND).await;
            }
            pair.wires.process_crash(1);
            let end = a_in.read(&mut [0; 8]).await.map_err(|error| error.kind());
            let expected = if unread { Err(ErrorKind::ConnectionReset) } else { Ok(0) };
            assert_eq!(end, expected);
            assert_eq!(waiting.split().0.read(&mut [0; 8]).await.unwrap(), 0, "not accepted yet");

            // Its ghosts touch nothing of the successor.
            let net = SimNet::new(&pair.wires, 1);
            let listener = net.listen((address_of(1), PORT).into()).await.unwrap();
            let Pair { wires, listener: ghost } = pair;
            drop((server, ghost));
            let pair = Pair { wires, listener };
            pair.connected().await;
        });
    }
}

#[test]
fn a_power_loss_is_silent_and_the_peer_learns_by_sending() {
    with_pair(1, |pair| async move {
        let ((mut a_in, mut a_out), server) = pair.connected().await;
        pair.wires.power_loss(1);
        drop(server);
        assert!(pair.ends(SECOND * 600, a_in.read(&mut [0; 8])).await.is_none(), "half-open");
        pair.wires.power_on(1);
        assert!(pair.ends(SECOND * 600, a_in.read(&mut [0; 8])).await.is_none());
        a_out.write_all(b"anyone?").await.unwrap();
        let error = a_in.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(a_out.write(b"x").await.is_err());
    });
}

#[test]
fn a_reset_breaks_both_ends() {
    with_pair(1, |pair| async move {
        let ((mut a_in, _a_out), (mut b_in, _b_out)) = pair.connected().await;
        assert_eq!(pair.wires.reset_connections(1, 1.0, &mut chance()), 1);
        for reader in [&mut a_in, &mut b_in] {
            let error = reader.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn one_side_may_finish_and_the_other_go_on() {
    with_pair(1, |pair| async move {
        let ((mut a_in, a_out), (mut b_in, mut b_out)) = pair.connected().await;
        drop(a_out);
        assert_eq!(b_in.read(&mut [0; 8]).await.unwrap(), 0);
        b_out.write_all(b"still here").await.unwrap();
        a_in.read_exact(&mut [0; 10]).await.unwrap();
    });
}

#[test]
fn a_held_connection_delivers_late_and_in_order() {
    with_pair(1, |pair| async move {
        let ((_, mut a_out), (mut b_in, _)) = pair.connected().await;
        pair.wires.hold_one(0, SECOND * 20, &mut chance());
        a_out.write_all(b"1").await.unwrap();
        pair.sleep(SECOND).await;
        a_out.write_all(b"2").await.unwrap();
        let mut both = [0; 2];
        assert!(pair.ends(SECOND * 15, b_in.read_exact(&mut both)).await.is_none());
        b_in.read_exact(&mut both).await.unwrap();
        assert_eq!(&both, b"12");
    });
}

#[test]
fn a_severed_connection_ends_within_what_was_sent() {
    with_pair(1, |pair| async move {
        let ((mut a_in, mut a_out), (mut b_in, mut b_out)) = pair.connected().await;
        pair.wires.sever_one(0, 7, &mut chance());
        a_out.write_all(b"hell").await.unwrap();
        a_out.write_all(b"o world").await.unwrap();
        let mut read = vec![];
        b_in.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"hello w");
        assert!(a_out.write_all(b"more").await.is_err());
        assert!(a_in.read(&mut [0; 8]).await.is_err());
        // The other direction does not know yet.
        b_out.write_all(b"answer").await.unwrap();
    });
}

#[test]
fn a_forgotten_connection_is_half_open_until_its_peer_sends() {
    with_pair(1, |pair| async move {
        let ((mut a_in, _a_out), (mut b_in, mut b_out)) = pair.connected().await;
        pair.wires.forget_one(0, &mut chance());
        assert!(a_in.read(&mut [0; 8]).await.is_err());
        assert!(pair.ends(SECOND * 600, b_in.read(&mut [0; 8])).await.is_none(), "half-open");
        b_out.write_all(b"anyone?").await.unwrap();
        let error = b_in.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn troubles_of_one_link_heal_each_for_itself() {
    with_pair(1, |pair| async move {
        let ((_, mut a_out), (mut b_in, _)) = pair.connected().await;
        pair.wires.with_links(|links| {
            links.trouble(1, 0, 1, Trouble::Cut);
            links.trouble(2, 0, 1, slow(3000, 1 << 20));
            links.trouble(3, 0, 1, Trouble::Cut);
            links.mend(1);
        });
        a_out.write_all(b"late").await.unwrap();
        let mut late = [0; 4];
        assert!(pair.ends(SECOND * 60, b_in.read_exact(&mut late)).await.is_none());
        pair.wires.with_links(|links| links.mend(3));
        pair.ends(SECOND * 6, b_in.read_exact(&mut late)).await.expect("not cut").unwrap();
        let begun = pair.now();
        a_out.write_all(b"slow").await.unwrap();
        b_in.read_exact(&mut late).await.unwrap();
        assert!(pair.now() - begun >= SECOND * 3);
    });
}

#[test]
fn nothing_is_remembered_of_connections_that_ended() {
    with_pair(1, |pair| async move {
        for _ in 0..50 {
            let ((_, mut a_out), _server) = pair.connected().await;
            a_out.write_all(b"bye").await.unwrap();
        }
        pair.sleep(SECOND).await;
        assert_eq!(pair.wires.connections(), 0);
    });
}

#[test]
fn a_taken_port_is_refused_and_port_0_draws_one() {
    with_pair(1, |pair| async move {
        let net = SimNet::new(&pair.wires, 1);
        let taken = net.listen((address_of(1), PORT).into()).await.err().unwrap();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let drawn = net.listen((address_of(1), 0).into()).await.unwrap();
        assert_ne!(drawn.local().port(), 0);
        drop(pair.listener);
        net.listen((address_of(1), PORT).into()).await.expect("the port is free again");
    });
}
