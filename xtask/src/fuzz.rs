//! `cargo xtask fuzz`: libFuzzer makes up inputs, and magid must keep what `daemon/src/fuzzing/`
//! promises of them.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo::{self, target, workspace};
use crate::narrate::say;

/// The most of memory in MiB, and of time for one input in seconds, that are no finding; and the
/// longest input in bytes, which is more than the longest line that is kept.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-timeout=10", "-max_len=65536"];

/// How much of libFuzzer's output is shown when it has found something, in lines.
const SHOWN: usize = 60;

/// What to fuzz.
#[derive(Args)]
pub(crate) struct Options {
    /// Fuzz only this target
    target: Option<String>,
    /// How long each target is fuzzed
    #[arg(long, value_name = "N", default_value = "60")]
    seconds: NonZeroU32,
}

/// Fuzzes one target or all of them, one after the other.
///
/// # Errors
///
/// If there is something to be installed first, or an input breaks a promise.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure_tools()?;
    let all = targets()?;
    let chosen: Vec<_> = all
        .iter()
        .filter(|name| options.target.as_ref().is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", all.join(", "));
    }
    cargo::run(cargo_fuzz(&["build"]).args(options.target.as_ref()))?;
    for target in chosen {
        fuzz(target, options.seconds)?;
    }
    Ok(())
}

fn ensure_tools() -> Result<()> {
    let nightly = ["run", "nightly", "cargo", "--version"];
    if !succeeds(Command::new("rustup").args(nightly)) {
        bail!(
            "fuzzing needs a nightly toolchain: `rustup toolchain install nightly --profile minimal` installs one"
        );
    }
    if !succeeds(&mut cargo_fuzz(&["--version"])) {
        bail!("fuzzing needs cargo-fuzz: `cargo install --locked cargo-fuzz` installs it");
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The cargo that runs this is another than the nightly one, and knows no `+nightly`.
fn cargo_fuzz(args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "fuzz"])
        .args(args)
        .env_remove("CARGO")
        .current_dir(folder(""));
    command
}

fn folder(name: &str) -> PathBuf {
    workspace().join("fuzz").join(name)
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder("fuzz_targets"))? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// Fuzzes one target. What libFuzzer finds worth keeping goes to a folder below `target/`, where the
/// next run takes it up; the seeds stay as they are.
fn fuzz(name: &str, seconds: NonZeroU32) -> Result<()> {
    let found = target().join("fuzz").join(name);
    fs::create_dir_all(&found)?;
    let log = found.with_extension("log");
    say(&format!(
        "{name}: {seconds} seconds, output in {}",
        log.display()
    ));
    let status = cargo_fuzz(&["run", name])
        .arg(&found)
        .arg(folder("corpus").join(name))
        .arg("--")
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!(
            "-dict={}",
            folder("dictionaries")
                .join(format!("{name}.dict"))
                .display()
        ))
        .arg("-print_final_stats=1")
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .status()
        .context("cannot run rustup")?;
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() {
        say(&format!("{name}: {}", figures(&output)));
        return Ok(());
    }
    let lines: Vec<_> = output.lines().collect();
    let last = &lines[lines.len().saturating_sub(SHOWN)..];
    last.iter().for_each(|line| eprintln!("    {line}"));
    match reproducer(&output) {
        Some(path) => bail!(
            "{name}: the input {} breaks a promise; mend what it shows, and keep it in fuzz/corpus/{name}/ \
             under a name with a dot",
            path.display()
        ),
        None => bail!("{name}: libFuzzer ended with {status}"),
    }
}

/// What libFuzzer tells at its end, in one line.
fn figures(output: &str) -> String {
    let behind = |word: &str| {
        let line = output.lines().rfind(|line| line.contains(word))?;
        line.split_once(word)?.1.split_whitespace().next()
    };
    let figure = |word| behind(word).unwrap_or("?");
    format!(
        "{} inputs, {} per second, {} edges covered, at most {} MiB",
        figure("stat::number_of_executed_units:"),
        figure("stat::average_exec_per_sec:"),
        figure(" cov: "),
        figure("stat::peak_rss_mb:"),
    )
}

/// The file that libFuzzer wrote the offending input to.
fn reproducer(output: &str) -> Option<&Path> {
    let line = output
        .lines()
        .find(|line| line.contains("Test unit written to "))?;
    Some(Path::new(line.split_once("written to ")?.1))
}
