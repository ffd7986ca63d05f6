//! `cargo xtask bench`: the figures that are promised, measured on this machine.

use anyhow::Result;

use crate::cargo::{self, cargo};

/// Builds what is released, and measures it.
pub(crate) fn run() -> Result<()> {
    cargo::run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "magid",
        "-p",
        "magictl",
        "-p",
        "magi-tests",
        "--bins",
    ]))?;
    cargo::run(&mut cargo(&[
        "run",
        "--release",
        "-p",
        "magi-tests",
        "--bin",
        "bench",
    ]))
}
