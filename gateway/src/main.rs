//! magi-gateway: see the library's page for what it is made of.

use std::process::ExitCode;

use clap::Parser;
use magi_gateway::run::{self, Arguments};

/// The one of glibc is slow for what a request takes most, a few KiB: see ADR 0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What is not a request: the stream to magid, accepting connections. Requests have threads of
    // their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("magi-gateway: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("magi-gateway: {error}");
            error.exit_code().into()
        }
    }
}
