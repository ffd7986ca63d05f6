//! `cargo xtask bench`: the figures that are promised, measured on this machine.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::cargo::{self, target, workspace};
use crate::narrate::say;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure; without it, the figures that are promised
    what: Option<What>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// What it costs to look after fifty servers; writes docs/supervisor.md
    Supervisor,
}

/// What stands above the table of `docs/supervisor.md`.
const SUPERVISOR: &str = "\
# What supervision costs

Made by `cargo xtask bench supervisor`: a released magid on one machine with two cores, that looks after fifty servers which
do nothing but exist, or crash. The kernel counts a wake-up each time a thread goes to sleep.

";

/// What stands below it.
const SUPERVISOR_NOTES: &str = "
When nothing happens, what wakes magid are its looks at ready servers (`liveness.interval`, 10 s): one `/health` each, and
the process's CPU time and sockets from `/proc`. Everything else waits for an event: the end of a process for its pidfd, a
changed file for inotify, a client for his socket.

A start has its costs in the kernel: a process is made, a log and a record are written, and after its end all processes
are looked at once, to see that nothing is left of it. Looks are shared by all servers that end at the same time.
";

/// Builds what is released, and measures it.
pub(crate) fn run(options: &Options) -> Result<()> {
    cargo::build_programs(&["--release"])?;
    match options.what {
        None => cargo::run(&mut Command::new(target().join("release/bench"))),
        Some(What::Supervisor) => supervisor(),
    }
}

fn supervisor() -> Result<()> {
    let mut bench = Command::new(target().join("release/bench-supervisor"));
    let output = bench.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cannot measure what supervision costs: {}", output.status);
    }
    let table = String::from_utf8(output.stdout)?;
    print!("{table}");
    let page = workspace().join("docs/supervisor.md");
    fs::write(&page, format!("{SUPERVISOR}{table}{SUPERVISOR_NOTES}"))?;
    say(&format!("wrote {}", page.display()));
    Ok(())
}
