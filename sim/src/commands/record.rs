//! Recording what clients see of a real process.
//!
//! The clients are those of the simulation, on the real clock and the real network. The broker may
//! be any that speaks the protocol. Outside a simulation madsim leaves the system alone.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::env::tokio::TokioEnv;

use crate::check::Violation;
use crate::commands::judge;
use crate::history;
use crate::plan::Plan;
use crate::run::Kind;
use crate::workload::{self, Role, Stage, Witness};

/// What was begun must end within this once nothing is broken any more.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Plans are drawn for simulated minutes; real ones hold so many times as much.
const HURRY: u64 = 10;

#[derive(Args, Clone)]
pub struct Arguments {
    /// Where the broker is: HOST:PORT
    #[arg(long)]
    address: String,
    /// How long the clients work
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What the clients do is drawn from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The history, one JSON object a line
    #[arg(long, default_value = "history.jsonl")]
    to: PathBuf,
    /// A shell command that kills the broker. Something must start it again, on the same address
    #[arg(long)]
    kill: Option<String>,
    /// How often
    #[arg(long, default_value_t = 3)]
    kills: u32,
}

pub fn record(arguments: &Arguments) -> i32 {
    match recorded(arguments) {
        Ok(None) => {
            println!("{} is recorded: cargo sim judge {0}", arguments.to.display());
            0
        }
        Ok(Some(violation)) => judge::tell(&violation),
        Err(error) => {
            eprintln!("{error}");
            Kind::Harness as i32
        }
    }
}

/// Keeps the real time.
struct Recorder {
    begun: Instant,
    /// What a client found broken by itself, first.
    broken: Arc<Mutex<Option<Violation>>>,
}

impl Witness for Recorder {
    fn now_nanos(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// What matters of it is in the history.
    fn note(&self, _: &str, _: String) {}

    fn broken(&self, violation: Violation) {
        let mut broken = self.broken.lock().expect("nobody panics with it");
        broken.get_or_insert(violation);
    }
}

/// What a client found broken by itself, if anything. The history is written in any case.
fn recorded(arguments: &Arguments) -> io::Result<Option<Violation>> {
    let (host, port) = arguments
        .address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_string(), port.parse().ok()?)))
        .ok_or_else(|| io::Error::other(format!("{} is no HOST:PORT", arguments.address)))?;
    let broken = Arc::new(Mutex::new(None));
    let recorder = Recorder { begun: Instant::now(), broken: broken.clone() };
    let stage = Stage::new(plan(arguments), vec![(host, port)], Box::new(recorder));
    let runtime = TokioEnv::runtime()?;
    let env = TokioEnv::new(runtime.handle().clone());
    let ended = runtime.block_on(perform(&env, &stage, arguments));
    runtime.shutdown_background();
    write(&stage, &arguments.to)?;
    ended?;
    Ok(broken.lock().expect("nobody panics with it").take())
}

/// The clients' part of a plan, in a hurry, under names that no other recording has used.
fn plan(arguments: &Arguments) -> Arc<Plan> {
    let mut plan = Plan::draw(arguments.seed, arguments.seconds * 1000 * HURRY);
    hurry(&mut plan);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| now.as_millis());
    for topic in &mut plan.topics {
        topic.name = format!("{}-{now_ms}", topic.name);
    }
    // The broker has options of its own.
    plan.brokers.iter_mut().for_each(|broker| broker.options.clear());
    plan.faults.clear();
    Arc::new(plan)
}

fn hurry(plan: &mut Plan) {
    let producers = plan.producers.iter_mut().flat_map(|it| &mut it.bursts);
    producers.for_each(|burst| burst.after_ms /= HURRY);
    let consumers = plan.consumers.iter_mut().flat_map(|it| &mut it.turns);
    consumers.for_each(|turn| turn.at_ms /= HURRY);
    let admins = plan.admins.iter_mut().flat_map(|it| &mut it.steps);
    admins.for_each(|step| step.after_ms /= HURRY);
    let peers = plan.peers.iter_mut().flat_map(|it| &mut it.visits);
    peers.for_each(|visit| visit.after_ms /= HURRY);
}

/// As in a simulated run: work, trouble, then peace, and a last reading.
async fn perform(env: &TokioEnv, stage: &Arc<Stage>, arguments: &Arguments) -> io::Result<()> {
    for role in workload::cast(&stage.plan) {
        join(env, stage, role);
    }
    let kills = if arguments.kill.is_some() { arguments.kills } else { 0 };
    let pause = Duration::from_secs(arguments.seconds) / (kills + 1);
    for _ in 0..kills {
        env.clock().sleep(pause).await;
        kill(env, arguments).await?;
    }
    env.clock().sleep(pause).await;
    stage.heal();
    settle(env, stage).await?;
    kill(env, arguments).await?;
    join(env, stage, Role::LastReader);
    settle(env, stage).await
}

fn join(env: &TokioEnv, stage: &Arc<Stage>, role: Role) {
    stage.begins(role);
    env.spawn("client", workload::play(env.clone(), stage.clone(), role));
}

async fn kill(env: &TokioEnv, arguments: &Arguments) -> io::Result<()> {
    let Some(command) = arguments.kill.clone() else { return Ok(()) };
    let run = move || Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).status();
    let status = env.offload(run).await?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("the command that kills ended with {status}"))),
    }
}

async fn settle(env: &TokioEnv, stage: &Stage) -> io::Result<()> {
    let until = env.clock().now().after(SETTLE_MAX);
    while let [first, ..] = &stage.at_work()[..] {
        if env.clock().now() > until {
            return Err(io::Error::other(format!("{first} did not end within {SETTLE_MAX:?}")));
        }
        env.clock().sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn write(stage: &Stage, to: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(to)?);
    history::write(&stage.history.entries(), &mut file)?;
    file.flush()
}
