//! `cargo xtask check`: everything that can be wrong without the programs being run.

use std::process::Stdio;

use anyhow::{Context, Result};

use crate::cargo::{self, cargo};
use crate::generate;
use crate::narrate::say;

/// The version of cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "cargo-deny@0.18.9";

/// Checks format, lints, documentation, generated files, and the licences and sources of
/// dependencies.
pub(crate) fn run() -> Result<()> {
    cargo::run(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` mends it")?;
    cargo::run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    cargo::run(
        cargo(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    cargo::run(&mut generate::keepers()).context("`cargo xtask generate` mends it")?;
    deny()?;
    say("all checks passed");
    Ok(())
}

/// Checks dependencies against `deny.toml`. Advisories need a database from the network, and are
/// left to those who have one.
fn deny() -> Result<()> {
    let present = cargo(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success();
    if !present {
        say("there is no cargo-deny: installing it, once, which takes some minutes");
        cargo::run(&mut cargo(&["install", "--locked", CARGO_DENY]))?;
    }
    cargo::run(&mut cargo(&[
        "deny", "check", "bans", "licenses", "sources",
    ]))
}
