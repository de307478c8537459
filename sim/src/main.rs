//! The simulator's command line: see `docs/simulation.md`.

#[cfg(madsim)]
mod agenda;
#[cfg(madsim)]
mod broker;
#[cfg(madsim)]
mod budget;
#[cfg(madsim)]
mod chance;
#[cfg(madsim)]
mod check;
#[cfg(madsim)]
mod clock;
#[cfg(madsim)]
mod commands;
#[cfg(madsim)]
mod coverage;
#[cfg(madsim)]
mod disk;
#[cfg(madsim)]
mod env;
#[cfg(madsim)]
mod history;
#[cfg(madsim)]
mod moments;
#[cfg(madsim)]
mod mutants;
#[cfg(madsim)]
mod nemesis;
#[cfg(madsim)]
mod net;
#[cfg(madsim)]
mod operator;
#[cfg(madsim)]
mod plan;
#[cfg(madsim)]
mod report;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod shrink;
#[cfg(madsim)]
mod trace;
#[cfg(madsim)]
mod witness;
#[cfg(madsim)]
mod workload;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
fn main() {
    std::process::exit(commands::main());
}

#[cfg(not(madsim))]
fn main() {
    eprintln!(
        "the simulator is built with --cfg madsim: use `cargo sim`, `cargo sim-test`. If you did, \
         an environment variable RUSTFLAGS overrides what they set: unset it"
    );
    std::process::exit(2);
}
