//! The command line: one subcommand a file. `ottla` alone is `ottla serve`.
//!
//! Standard output is for data, standard error for talk. An error is one line that says what,
//! where, why and what to do; the exit code says of which kind it was (`failure.rs`).

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod banner;
mod failure;
mod load;
mod logging;
mod ports;
mod serve;
mod stop;

/// An event-streaming broker that speaks Kafka's protocol and keeps Kafka's files.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker; the same as no subcommand at all.
    Serve(serve::Arguments),
}

/// Does what the command line says. Wrong usage ends the process here, with code 2.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let arguments = match cli.command {
        Some(Command::Serve(arguments)) => arguments,
        None => cli.serve,
    };
    match serve::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.lines() {
                eprintln!("error: {line}");
            }
            ExitCode::from(failure.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn arguments(line: &str) -> serve::Arguments {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        match cli.command {
            Some(Command::Serve(arguments)) => arguments,
            None => cli.serve,
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_subcommand_is_serve() {
        for line in ["ottla --node-id 3 -D a=b", "ottla serve --node-id 3 -D a=b"] {
            let arguments = arguments(line);
            assert_eq!((arguments.node_id, arguments.define.len()), (Some(3), 1), "{line}");
        }
    }

    #[test]
    fn wrong_usage_has_code_2() {
        let error = Cli::try_parse_from(["ottla", "--bogus"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
