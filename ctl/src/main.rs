//! `magictl`: the command line of magid.
//!
//! A command is one call, or a few, of the daemon's API and a way to print the answer:
//!
//! * [`cli`] is the grammar; `commands/<verb>.rs` is one verb each;
//! * [`answer`] talks to a server itself, for `run`;
//! * [`view`] is what magictl knows: the daemon's answers, as the values that `-o json` prints;
//! * [`output`] renders them; results go to stdout, narration to stderr;
//! * [`failure`] gives everything that can go wrong a message and an exit status.

mod answer;
mod cli;
mod client;
mod commands;
mod failure;
#[cfg(test)]
mod man;
mod output;
mod poll;
mod view;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use failure::{ExitStatus, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).unwrap_or_else(|failure| failure.report()).into()
}

fn run(cli: Cli) -> Result<ExitStatus, Failure> {
    // One thread: magictl mostly waits, and a pool of threads costs more than most commands.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(commands::run(cli))
}
