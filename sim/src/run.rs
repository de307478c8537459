//! One plan, one run, one report.
//!
//! The run has a thread of its own, so that nothing the process did before can leak into it, and a
//! process of its own, because two runs in one process are not the same run (tokio keeps counters).

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use madsim::runtime::Runtime;
use ottla::env::probe::Event;
use serde::{Deserialize, Serialize};

use crate::broker;
use crate::budget::Budget;
use crate::chance::{Chance, Subsystem};
use crate::check::forfeit::{self, Watch};
use crate::check::fsync::Syncs;
use crate::check::ghost::{DATA_DIR, Ghost};
use crate::check::history::{self, Rules, Summary};
use crate::check::{Invariant, Violation};
use crate::coverage;
use crate::disk::files_below;
use crate::env::SimEnv;
use crate::history::Entry;
use crate::nemesis::Nemesis;
use crate::net::address_of;
use crate::operator::{Operator, Restart};
use crate::plan::Plan;
use crate::plan::fault::{Class, Fault};
use crate::trace;
use crate::witness::Onlooker;
use crate::workload::{self, Role, Stage};
use crate::world::{Hardware, Kill, Program, Running, World};

/// Once healed, everything that was begun must end within this.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// Longer than any run.
const FOR_GOOD_MS: u64 = 1 << 40;

/// A second. On a narrower link a sound request may take longer than its client waits.
const CALM_BYTES: u64 = 1 << 20;

/// How long a broker may take to let go of clients that are gone, and of the files of segments that
/// were deleted: they wait for the next checkpoint, which comes once a minute.
const REST: Duration = Duration::from_secs(70);

const STACK_BYTES: usize = 16 << 20;

/// Why a run failed; the numbers are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Safety = 20,
    Liveness = 21,
    /// A panic or a failed assertion of the broker, or it stopped by itself.
    Panic = 22,
    NonDeterminism = 23,
    /// The simulator itself.
    Harness = 24,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub kind: Kind,
    pub invariant: Option<Invariant>,
    pub evidence: String,
    /// The last of what happened, oldest first.
    pub events: Vec<String>,
}

const VACUOUS: &str = "a vacuous run";

impl Failure {
    /// Nothing was wrong, but nothing was proved.
    pub fn is_vacuous(&self) -> bool {
        self.kind == Kind::Harness && self.evidence.starts_with(VACUOUS)
    }
}

impl Report {
    /// Something was wrong. A run that proved nothing is none of these: a batch counts them.
    pub fn is_bad(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| !failure.is_vacuous())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    pub hash: u64,
    pub events: u64,
    pub simulated_ms: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    pub faults: BTreeMap<Class, u64>,
    /// What else came about, and how often. What could have and did not is there with 0.
    pub coverage: BTreeMap<String, u64>,
    pub failure: Option<Failure>,
}

/// What outlives a run that panics.
#[derive(Clone, Default)]
struct Remains {
    world: Arc<Mutex<Option<World>>>,
    stage: Arc<Mutex<Option<Arc<Stage>>>>,
    nemesis: Arc<Mutex<Option<Nemesis>>>,
    panic: Arc<Mutex<String>>,
}

/// All that a run leaves.
pub struct Told {
    pub report: Report,
    pub history: Vec<Entry>,
    /// The last of it.
    pub trace: Vec<trace::Entry>,
}

/// The report, and what the clients saw.
pub fn run(plan: Plan) -> (Report, Vec<Entry>) {
    let Told { report, history, .. } = run_keeping(plan, trace::KEPT_MAX);
    (report, history)
}

/// Keeps that many of the last entries of the trace.
pub fn run_keeping(plan: Plan, kept_max: usize) -> Told {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let running =
        thread.spawn(move || run_here(plan, kept_max)).expect("the system has a thread left");
    running.join().expect("a run catches its panics")
}

fn run_here(plan: Plan, kept_max: usize) -> Told {
    let remains = Remains::default();
    keep_panics(remains.panic.clone());
    let seed = plan.seed;
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    // Who lies must be asked for it later.
    let plan = if plan.canary { plan.without_deletion() } else { plan };
    let plan = Arc::new(plan);
    let scenario = scenario(plan, remains.clone(), kept_max);
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(scenario)));
    // What is left of the tasks may not like to be dropped; the process ends soon.
    std::mem::forget(runtime);

    let world = remains.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let world = world.expect("a run begins with its world");
    let panic = remains.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let (summary, failure) = match ended {
        Ok(Ok(summary)) => (summary, None),
        Ok(Err(failure)) => (Summary::default(), Some(failure)),
        Err(payload) => (Summary::default(), Some(failure_of(payload, &panic))),
    };
    let trace = world.trace.kept();
    let failure = failure.map(|failure| {
        let silent = trace.len().saturating_sub(trace::KEPT_MAX);
        let events = trace[silent..].iter().map(trace::Entry::to_string).collect();
        Failure { events, ..failure }
    });
    let nemesis = remains.nemesis.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let faults = nemesis.as_ref().map(|nemesis| nemesis.struck()).unwrap_or_default();
    let stage = remains.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let history = stage.as_ref().map(|stage| stage.history.entries()).unwrap_or_default();
    let report = Report {
        seed,
        hash: world.trace.hash(),
        events: world.trace.events(),
        simulated_ms: world.agenda.now().as_millis() as u64,
        acknowledged: summary.acknowledged,
        unknown: summary.unknown,
        refused: summary.refused,
        faults,
        coverage: coverage::of(&history),
        failure,
    };
    Told { report, history, trace }
}

async fn scenario(plan: Arc<Plan>, remains: Remains, kept_max: usize) -> Result<Summary, Failure> {
    let world = World::new(plan.seed);
    world.trace.keep(kept_max);
    *remains.world.lock().unwrap() = Some(world.clone());
    world.wires.with_links(|links| links.set_usual(plan.link.clone()));
    let ghost = Arc::new(Ghost::default());
    let (budget, operator) = (Budget::of(&plan), Arc::new(Operator::default()));
    let bootstrap = vec![(address_of(0).to_string(), workload::BROKER_PORT)];
    let onlooker = Onlooker { world: world.clone(), budget: budget.clone() };
    let stage = Stage::new(plan.clone(), bootstrap, Box::new(onlooker));
    *remains.stage.lock().unwrap() = Some(stage.clone());
    attend(&world, &plan, &budget, &ghost, &operator);
    build(&world, &plan, &stage);

    let nemesis = Nemesis::new(world.clone(), plan.clone(), operator.clone(), budget.clone());
    *remains.nemesis.lock().unwrap() = Some(nemesis.clone());
    nemesis.run().await;
    stage.heal();
    if budget.is_broker_forfeit(0) {
        // It may refuse everything. That it says so, and invents nothing, is all that is asked.
        world.sleep(SETTLE_MAX).await;
        stopped_by_itself(&operator)?;
        forfeit::set_apart(&budget, stage.history.entries()).map_err(broken)?;
        return Ok(Summary::default());
    }
    settle(&world, &operator, &budget, &stage).await?;

    if plan.last_stop {
        stop(&world, &operator).await?;
    }
    if let Some(how) = plan.last_kill {
        world.kill(0, how);
        if plan.canary {
            betray(&world, &plan.topics[0].name);
        }
    }
    world.start(0);
    join(&world, &stage, Role::LastReader);
    settle(&world, &operator, &budget, &stage).await?;
    stopped_by_itself(&operator)?;

    let entries = forfeit::set_apart(&budget, stage.history.entries()).map_err(broken)?;
    if !stage.at_work().is_empty() {
        // Somebody waits for what was destroyed, and has not seen the rest.
        return Ok(Summary::default());
    }
    let summary = history::check(&entries, &rules(&plan)).map_err(broken)?;
    if budget.is_intact() {
        rest(&world, &plan).await;
        ghost.finish(&world);
        vacuous(&plan, &ghost, &summary, &nemesis)?;
    }
    Ok(summary)
}

/// Who sees the probes, and who starts a broker that stopped.
fn attend(
    world: &World,
    plan: &Arc<Plan>,
    budget: &Budget,
    ghost: &Arc<Ghost>,
    operator: &Arc<Operator>,
) {
    let (ghost, watch) = (ghost.clone(), Watch::new(budget.clone()));
    let (observing, seed, syncs) = (operator.clone(), plan.seed, Syncs::default());
    world.set_observer(Arc::new(move |world, node, event| {
        syncs.observe(world, node, event);
        if let Event::Refused { .. } = event {
            observing.refused(world, node);
        }
        if watch.observe(world, node, event) {
            ghost.forget(node, event);
        } else {
            observing.observe(world, seed, node, event);
            ghost.observe(world, node, event);
        }
    }));
    let (attending, brokers) = (operator.clone(), plan.brokers.len());
    world.set_attendant(Arc::new(move |world, node, exit| {
        if node < brokers {
            attending.exited(world, seed, node, exit);
        }
    }));
}

/// What the plan allows that the history does not tell.
fn rules(plan: &Plan) -> Rules {
    let faults = || plan.faults.iter().map(|planned| &planned.fault);
    let power = |kill: &Kill| matches!(kill, Kill::Power(_));
    // A sync that fails takes from memory what a power loss would.
    let is_power = |fault: &Fault| match fault {
        Fault::Kill { how, .. } => power(how),
        Fault::Stop { power, .. } => power.is_some(),
        Fault::DiskError { .. } => true,
        Fault::DiskFull { repair, .. } | Fault::FewFiles { repair, .. } => repair.power.is_some(),
        _ => false,
    };
    let link = &plan.link;
    Rules {
        calm: plan.faults.is_empty() && link.loss_ppm == 0 && link.bytes_per_second >= CALM_BYTES,
        power_failed: plan.last_kill.as_ref().is_some_and(power) || faults().any(is_power),
        clock_jumped: faults().any(|fault| matches!(fault, Fault::WallJump { .. })),
        ..Rules::default()
    }
}

/// Nobody asks for anything any more: what a broker still holds then, it leaks.
async fn rest(world: &World, plan: &Plan) {
    // The last reader comes behind all hosts of the plan.
    (plan.brokers.len()..=plan.hosts()).for_each(|client| world.kill(client, Kill::Process));
    world.sleep(REST).await;
}

/// Loses half of the largest segment of a topic.
fn betray(world: &World, topic: &str) {
    let disk = world.disk(0);
    let victim = disk.with_volume(|volume| {
        let files = files_below(volume, Path::new(DATA_DIR)).into_iter();
        let logs = files.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        let topics = logs.filter(|path| path.to_string_lossy().contains(topic));
        topics.max_by_key(|path| volume.find(path).map(|ino| volume.len(ino)))
    });
    if let Some(path) = victim {
        disk.betray(&path);
    }
}

/// Brokers, producers, reader, in the order of their host numbers.
fn build(world: &World, plan: &Arc<Plan>, stage: &Arc<Stage>) {
    for (index, planned) in plan.brokers.iter().enumerate() {
        let options = planned.options.clone();
        let running = move |env| -> Running { Box::pin(broker::run(env, index, options.clone())) };
        let node = world.add_node(&format!("broker-{index}"), &planned.hardware, Arc::new(running));
        world.disk(node).set_temper(planned.temper.clone());
        world.start(node);
    }
    for role in workload::cast(plan) {
        join(world, stage, role);
    }
}

fn join(world: &World, stage: &Arc<Stage>, role: Role) {
    stage.begins(role);
    let stage = stage.clone();
    let playing = program(move |env| workload::play(env, stage.clone(), role));
    let node = world.add_node(&role.to_string(), &client_hardware(), playing);
    world.start(node);
}

fn program<F: Future<Output = ()> + Send + 'static>(
    client: impl Fn(SimEnv) -> F + Send + Sync + 'static,
) -> Program {
    Arc::new(move |env| -> Running {
        let running = client(env);
        Box::pin(async move {
            running.await;
            Ok(())
        })
    })
}

fn client_hardware() -> Hardware {
    Hardware { drift_ppm: 0, wall_offset_ms: 0, disk_bytes: 1 << 20 }
}

/// Waits for what must happen now that nothing is broken any more.
async fn settle(
    world: &World,
    operator: &Operator,
    budget: &Budget,
    stage: &Stage,
) -> Result<(), Failure> {
    let until = world.agenda.now() + SETTLE_MAX;
    while let [first, ..] = &stage.at_work()[..] {
        stopped_by_itself(operator)?;
        if world.agenda.now() > until && !budget.is_intact() {
            // It may wait for what is not there any more.
            return Ok(());
        }
        if world.agenda.now() > until {
            let evidence = format!("{first} did not end within {SETTLE_MAX:?} of healing");
            return Err(broken(Violation::new(Invariant::I50, evidence)));
        }
        world.sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Stops the broker in order, and leaves it so: nothing is broken, and it must not take long.
async fn stop(world: &World, operator: &Operator) -> Result<(), Failure> {
    let until = world.now() + SETTLE_MAX;
    let fate = Chance::stream(0, Subsystem::Fault, 0, 0);
    let restart = Restart { down_ms: FOR_GOOD_MS, power: None, cause: 0, fate };
    let asked = world.incarnation(0);
    operator.stop(world, 0, FOR_GOOD_MS, restart);
    // An earlier fault may have it started again just then.
    while world.is_running(0) && world.incarnation(0) == asked {
        if world.now() > until {
            let evidence = format!("{} did not stop within {SETTLE_MAX:?}", world.name(0));
            return Err(broken(Violation::new(Invariant::I50, evidence)));
        }
        world.sleep(Duration::from_millis(50)).await;
    }
    stopped_by_itself(operator)
}

/// A broker gave up, and no fault of its disk was the reason.
fn stopped_by_itself(operator: &Operator) -> Result<(), Failure> {
    operator.complaint().map_or(Ok(()), |why| Err(failure(Kind::Panic, Some(Invariant::I45), why)))
}

/// A run that tried nothing proves nothing.
fn vacuous(
    plan: &Plan,
    ghost: &Ghost,
    summary: &Summary,
    nemesis: &Nemesis,
) -> Result<(), Failure> {
    let lacks = if summary.acknowledged == 0 || summary.read + summary.consumed == 0 {
        "nothing was acknowledged or read"
    } else if ghost.acknowledged() == 0 {
        "the broker told the checkers of no acknowledgement"
    } else if nemesis.struck().values().sum::<u64>() + nemesis.missed() != plan.faults.len() as u64
    {
        "not every planned fault struck"
    } else {
        return Ok(());
    };
    Err(failure(Kind::Harness, None, format!("{VACUOUS}: {lacks}")))
}

fn failure(kind: Kind, invariant: Option<Invariant>, evidence: String) -> Failure {
    Failure { kind, invariant, evidence, events: vec![] }
}

fn broken(violation: Violation) -> Failure {
    let Violation { invariant, evidence } = violation;
    let kind = if invariant.is_liveness() { Kind::Liveness } else { Kind::Safety };
    failure(kind, Some(invariant), evidence)
}

fn failure_of(payload: Box<dyn Any + Send>, panic: &str) -> Failure {
    match payload.downcast::<Violation>() {
        Ok(violation) => broken(*violation),
        Err(_) if panic.contains("panicked at sim/src") => {
            failure(Kind::Harness, None, panic.to_string())
        }
        Err(_) => failure(Kind::Panic, None, panic.to_string()),
    }
}

/// The first panic is the one that counts; those of the clean-up are noise.
fn keep_panics(to: Arc<Mutex<String>>) {
    std::panic::set_hook(Box::new(move |info| {
        let mut kept = to.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.is_empty() {
            *kept = info.to_string();
        }
    }));
}
