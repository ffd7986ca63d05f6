//! magid: see the library's page for what it is made of.

use std::process::ExitCode;

use clap::Parser;
use magid::daemon::{self, Arguments};

/// The one of glibc keeps memory for each thread, and a daemon that mostly waits has no use for its
/// speed: see ADR 0009.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("magid")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("magid: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(daemon::run(arguments));
    // A blocking call on a disk that hangs must not keep magid from ending.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("magid: {error}");
            error.exit_code().into()
        }
    }
}
