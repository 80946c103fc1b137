//! `sidelog-standalone`: parses the command line and decides the exit code.

use clap::{Parser, Subcommand};
use sidelog_standalone::engine::child;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "sidelog-standalone", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the embedded ClickHouse until stdin closes.
    #[command(hide = true)]
    Engine(child::ChildArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Engine(args) => ExitCode::from(u8::try_from(child::run(&args)).unwrap_or(u8::MAX)),
    }
}
