use proptest::prelude::*;

use super::*;
use crate::log::producers::{Producer, Producers};

#[derive(Clone, Copy, Debug)]
enum Step {
    Append {
        count: u8,
        bytes: u16,
        timestamp: u8,
    },
    Read {
        from: u8,
        bytes_max: u16,
    },
    Find {
        timestamp: u8,
    },
    Truncate(u8),
    RaiseStart(u8),
    Retain(u16),
    Release,
    /// A clean stop and a start.
    Restart,
    /// The process dies; the machine does not.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let append = (1..5u8, 10..900u16, any::<u8>());
    prop_oneof![
        10 => append.prop_map(|(count, bytes, timestamp)| Step::Append { count, bytes, timestamp }),
        4 => (any::<u8>(), any::<u16>()).prop_map(|(from, bytes_max)| Step::Read { from, bytes_max }),
        2 => any::<u8>().prop_map(|timestamp| Step::Find { timestamp }),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::RaiseStart),
        1 => any::<u16>().prop_map(Step::Retain),
        1 => Just(Step::Release),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// What a log is: batches in order, and where it starts.
struct Model {
    batches: Vec<Batch>,
    start: Offset,
    end: Offset,
}

impl Model {
    fn readable(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(|batch| batch.next_offset() > self.start)
    }

    /// The last batch of each producer is known, whatever happened in between.
    fn check_producers(&self, log: &Log<MemoryEnv>) {
        let mut expected = Producers::default();
        self.batches.iter().for_each(|batch| expected.on_data(batch));
        for (id, producer) in expected.iter() {
            let last = producer.last().unwrap();
            if last.base_offset() >= self.start {
                assert_eq!(log.producers().get(id).and_then(Producer::last), Some(last));
            }
        }
    }

    fn pick(&self, n: u8) -> Offset {
        Offset(self.start.0 + i64::from(n) % (self.end.0 - self.start.0 + 1))
    }

    fn first_at_or_after(&self, timestamp_ms: i64) -> Option<(Offset, i64)> {
        let records = self.batches.iter().flat_map(|batch| {
            let records: Vec<_> = batch.records(1 << 20).map(Result::unwrap).collect();
            records.into_iter().map(|r| (batch.offset_of(&r), batch.timestamp_ms_of(&r)))
        });
        let mut found = records.filter(|(offset, at)| *offset >= self.start && *at >= timestamp_ms);
        found.next()
    }
}

async fn behaves(steps: Vec<Step>, cold: bool) {
    let env = memory();
    env.disk().set_cold(cold);
    let (mut log, report) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
    assert!(report.created);
    let mut model = Model { batches: vec![], start: Offset(0), end: Offset(0) };
    let mut epoch = 0;
    for step in steps {
        match step {
            Step::Append { count, bytes, timestamp } => {
                let producer = Some((i64::from(count % 3), timestamp.into()));
                let sent = numbered(producer, count.into(), bytes.into(), timestamp.into());
                let (leader, origin) = (LeaderEpoch(epoch), Origin::Replication);
                let appended = log.append_as_leader(&sent, leader, origin, 0).unwrap();
                assert_eq!(appended.base, model.end);
                model.batches.push(sent.stamped(model.end, LeaderEpoch(epoch)));
                model.end = appended.end;
            }
            Step::Read { from, bytes_max } => {
                let from = model.pick(from);
                let expected = model.batches.iter().filter(|batch| batch.next_offset() > from);
                let found = read(&log, from, bytes_max.into()).await;
                assert!(found.iter().eq(expected), "from {from}");
            }
            Step::Find { timestamp } => {
                let found =
                    log.time_lookup().at_or_after(timestamp.into(), log.end()).await.unwrap();
                let found = found.map(|found| (found.offset, found.timestamp_ms));
                assert_eq!(found, model.first_at_or_after(timestamp.into()));
            }
            Step::Truncate(n) => epoch += i32::from(truncate(&mut log, &mut model, n).await),
            Step::RaiseStart(n) => {
                let to = model.pick(n);
                assert_eq!(log.raise_start(to), to > model.start);
                model.start = model.start.max(to);
            }
            Step::Retain(bytes) => retain(&mut log, &mut model, bytes.into()).await,
            Step::Release => {
                sync(&mut log).await;
                log.release();
            }
            Step::Restart => {
                let known = close(log).await;
                let (opened, report) = open(&env, &small(), known).await.unwrap();
                assert_eq!((report.cut_bytes, report.scanned_bytes), (0, 0));
                log = opened;
            }
            Step::Kill => {
                let known = Known {
                    clean: false,
                    recovery_point: log.recovery_point(),
                    log_start: log.start_to_checkpoint().unwrap_or(Offset(0)),
                };
                let (opened, report) = open(&env, &small(), known).await.unwrap();
                assert_eq!(report.cut_bytes, 0);
                log = opened;
            }
        }
        assert_eq!((log.start(), log.end()), (model.start, model.end), "after {step:?}");
        model.check_producers(&log);
    }
    let found = all(&log).await;
    assert!(found.iter().eq(model.readable()));
}

/// Whether there was something to cut.
async fn truncate(log: &mut Log<MemoryEnv>, model: &mut Model, n: u8) -> bool {
    let to = model.pick(n);
    let Some(truncation) = log.begin_truncate(to).unwrap() else { return false };
    let cut = truncation.resolve().await.unwrap();
    log.truncate(cut, 0).unwrap();
    let refused = log.append_as_follower(&[batch(1, 10, 0)], 0);
    assert!(refused.is_err(), "not before the cut is synced");
    sync(log).await;
    model.batches.retain(|batch| batch.next_offset() <= to);
    let last = model.batches.last().map(|batch| batch.next_offset());
    model.end = last.unwrap_or(Offset(0)).max(log.first_base());
    model.start = model.start.min(model.end);
    true
}

async fn retain(log: &mut Log<MemoryEnv>, model: &mut Model, bytes: u64) {
    if let Some(measuring) = log.begin_measure() {
        let measured = measuring.carry_out().await.unwrap();
        log.on_measured(measured);
    }
    let size = log.size_bytes();
    let config = LogConfig { retention_bytes: Some(bytes), ..small() };
    log.set_config(Arc::new(config));
    if let Some(removal) = log.retain(log.end(), 0).unwrap() {
        removal.rename().await.unwrap();
        assert!(all(log).await.iter().eq(model.readable()), "until it is done, all can be read");
        log.on_renamed(&removal);
        assert!(log.size_bytes() < size);
        removal.remove().unwrap();
    }
    model.start = log.start();
    log.set_config(Arc::new(small()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_the_model_says(
        steps in proptest::collection::vec(step(), 0..50),
        cold in any::<bool>(),
    ) {
        run(behaves(steps, cold));
    }
}
