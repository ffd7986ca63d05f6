//! `magictl completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;

/// Which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that will read the script
    shell: Shell,
}

/// Prints the script. It needs no daemon.
pub(crate) fn run(args: &CompletionsArgs, output: Output) -> Result<ExitStatus, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "magictl", &mut script);
    output.bytes(&script)?;
    Ok(ExitStatus::Done)
}
