//! The project's own commands: `cargo xtask <COMMAND>`. Each is one module.
//!
//! Results go to stdout, narration to stderr. A command says what it does before it does it, and
//! what to do when it cannot.

mod bench;
mod cargo;
mod check;
mod debian;
mod demo;
mod docker;
mod fuzz;
mod generate;
mod llama_server;
mod narrate;
mod package;
mod python_clients;
mod systemd;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve three tiny models from a folder to play with, until Ctrl-C
    Demo,
    /// Set up what the tests need, and run all of them
    Test(test::Options),
    /// Check format, lints, licences, documentation and generated files
    Check,
    /// Measure the figures that are promised, and fail if one is missed
    Bench(bench::Options),
    /// Have inputs made up for what magid reads, and fail if one breaks a promise
    Fuzz(fuzz::Options),
    /// Write generated files anew
    Generate,
    /// Make packages that people install
    #[command(subcommand)]
    Package(package::Package),
    /// Print the path of a llama-server, building one if there is none
    LlamaServer,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo => demo::run(),
        Command::Test(options) => test::run(&options),
        Command::Check => check::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Generate => generate::run(),
        Command::Package(package) => package::run(&package),
        Command::LlamaServer => llama_server::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrate::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
