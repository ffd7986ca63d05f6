//! `cargo xtask generate`: files that are generated and checked in.
//!
//! The test that keeps such a file in step also writes it, when `REGENERATE` is set. The names of
//! these tests all hold [`KEEPERS`].

use std::process::Command;

use anyhow::Result;

use crate::cargo::cargo;

/// What the tests that keep generated files have in their names.
const KEEPERS: &str = "in_step_with";

/// Writes every generated file anew.
pub(crate) fn run() -> Result<()> {
    crate::cargo::run(keepers().env("REGENERATE", "1"))
}

/// The tests that fail if a generated file is not what would be generated.
pub(crate) fn keepers() -> Command {
    cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--tests",
        "--quiet",
        KEEPERS,
    ])
}
