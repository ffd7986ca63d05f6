//! `cargo xtask test`: sets up what the tests need, and runs them.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::cargo::{self, cargo, target};
use crate::docker;
use crate::llama_server;
use crate::narrate::say;
use crate::python_clients;
use crate::systemd;

/// What to test.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    suite: Option<Suite>,
    /// Repeat the reliability tests as often as their promises are made for, with what is released
    #[arg(long)]
    full: bool,
    /// Run only tests whose names contain one of these
    filter: Vec<String>,
}

/// Tests that are apart from the others, since they need more of the machine.
#[derive(Subcommand)]
enum Suite {
    /// Install the package by apt under a real systemd, in containers, and see it work
    Systemd {
        #[command(flatten)]
        options: systemd::Options,
        #[command(flatten)]
        machine: Machine,
    },
    /// Run the image, the compose file and the scripts in packaging/docker as people do
    Docker {
        #[command(flatten)]
        machine: Machine,
    },
}

/// What the machine may lack.
#[derive(Args)]
struct Machine {
    /// Where the machine does not allow containers, say so instead of failing
    #[arg(long)]
    where_possible: bool,
}

/// Runs the tests that were asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.suite {
        Some(Suite::Systemd { options, machine }) => {
            machine.judge("systemd", systemd::run(options))
        }
        Some(Suite::Docker { machine }) => machine.judge("docker", docker::test::run()),
        None => run_here(options),
    }
}

impl Machine {
    /// What a suite comes to. Only what the machine was asked beforehand may excuse it.
    fn judge(&self, suite: &str, tested: Result<()>) -> Result<()> {
        let Err(error) = tested else {
            return Ok(());
        };
        match error.downcast::<docker::Unable>() {
            Ok(unable) if self.where_possible => {
                say(&format!("NOT TESTED: `cargo xtask test {suite}`: {unable}"));
                Ok(())
            }
            Ok(unable) => Err(unable.into()),
            Err(error) => Err(error),
        }
    }
}

/// Runs all tests that need no container. Those that cannot run here are named at the end, and fail the
/// run where nothing may be skipped.
fn run_here(options: &Options) -> Result<()> {
    let llama_server = llama_server::find_or_build()?;
    cargo::build_programs(if options.full { &["--release"] } else { &[] })?;

    // What its absence means is said by the tests that are skipped for it.
    let _python = python_clients::find_or_install();
    let skipped = target().join("skipped-tests");
    let figures = target().join("figures");
    for file in [&skipped, &figures] {
        fs::write(file, "")?;
    }
    let test = |kinds: &[&str]| {
        let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
        command
            .args(kinds)
            .arg("--")
            .args(&options.filter)
            .env("LLAMA_SERVER_PATH", &llama_server)
            .env("MAGI_SKIPPED_FILE", &skipped)
            .env("MAGI_FIGURES_FILE", &figures);
        if options.full {
            command
                .env("MAGI_FULL", "1")
                .env("MAGI_BIN_DIR", target().join("release"));
        }
        cargo::run(&mut command)
    };
    let tested = test(&["--lib", "--bins", "--tests"]);
    report(&figures, "measured:")?;
    let count = report(&skipped, "skipped:")?;
    tested?;
    // Documentation comes last, so that cargo's own verdict ends the output.
    test(&["--doc"])?;
    say("left out: the package under a real systemd, which `cargo xtask test systemd` tests");
    say("left out: the image and its compose file, which `cargo xtask test docker` tests");
    if count > 0 && std::env::var("CI").is_ok_and(|value| value == "true") {
        bail!("nothing may be skipped with CI=true, but {count} tests were");
    }
    Ok(())
}

/// Shows the lines that tests have written into a file, and gives their number.
fn report(path: &Path, heading: &str) -> Result<usize> {
    let text = fs::read_to_string(path)?;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    if !lines.is_empty() {
        say(heading);
        lines.iter().for_each(|line| eprintln!("    {line}"));
    }
    Ok(lines.len())
}
