//! `cargo xtask bench`: the figures that are promised, measured on this machine.

use std::process::Command;

use anyhow::Result;

use crate::cargo::{self, target};

/// Builds what is released, and measures it.
pub(crate) fn run() -> Result<()> {
    cargo::build_programs(&["--release"])?;
    cargo::run(&mut Command::new(target().join("release/bench")))
}
