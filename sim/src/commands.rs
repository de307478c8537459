//! The command line: many seeds in processes of their own, one seed in this one.
//!
//! These files stand in the real world, around the simulated one. A failure's kind is the exit code
//! (`run::Kind`), of a batch the gravest; 2 says that the command line makes no sense.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use clap::{Parser, Subcommand};

use crate::check::Invariant;
use crate::mutants;
use crate::plan::fault::Class;

mod batch;
mod canary;
mod corpus;
mod determinism;
mod judge;
pub mod process;
mod record;
mod remains;
mod replay;
mod run;
mod shrink;
mod summary;

#[derive(Parser)]
#[command(name = "cargo sim", about = "Ottla's broker under a seed, with every fault")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run seeds, each in a process of its own
    Run(run::Arguments),
    /// Run one seed here, and tell all about it
    Replay(replay::Arguments),
    /// Make a failing plan small
    Shrink(shrink::Arguments),
    /// Run the plans that once failed
    Corpus(corpus::Arguments),
    /// Run each seed in two processes and compare everything that happened
    Determinism(batch::Arguments),
    /// Run seeds whose disk lies: each must fail, or the alarm is broken
    Canary(batch::Arguments),
    /// Plant bugs in a copy of the broker: each must be caught by the invariant that it names
    Mutants(mutants::command::Arguments),
    /// Write down what clients see of a real broker
    Record(record::Arguments),
    /// Check what was written down
    Judge(judge::Arguments),
    /// Show the invariants and the classes of faults
    List,
    /// Run one plan and print its report as JSON
    #[command(hide = true)]
    One(process::Arguments),
}

pub fn main() -> i32 {
    match Cli::parse().command {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Replay(arguments) => replay::replay(&arguments),
        Verb::Shrink(arguments) => shrink::shrink(&arguments),
        Verb::Corpus(arguments) => corpus::replay(&arguments),
        Verb::Determinism(arguments) => determinism::compare(&arguments),
        Verb::Canary(arguments) => canary::run(&arguments),
        Verb::Mutants(arguments) => mutants::command::run(&arguments, batch::draw_seed()),
        Verb::Record(arguments) => record::record(&arguments),
        Verb::Judge(arguments) => judge::judge(&arguments),
        Verb::List => list(),
        Verb::One(arguments) => process::one(&arguments),
    }
}

fn list() -> i32 {
    println!("invariants");
    for invariant in Invariant::ALL {
        println!("  {:<5} {}", format!("{invariant:?}"), invariant.describe());
    }
    println!("classes of faults");
    for class in Class::ALL {
        println!("  {:<12} {}", format!("{class:?}"), class.describe());
    }
    0
}

/// The command line made no sense.
fn complain(error: &str) -> i32 {
    eprintln!("{error}");
    2
}
