//! `cargo xtask check`: everything that can be wrong without the programs being run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{self, cargo, target, workspace};
use crate::generate;
use crate::narrate::say;
use crate::package;

/// The version of cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "cargo-deny@0.18.9";

/// The manifest of the fuzz targets.
const FUZZ: &str = "fuzz/Cargo.toml";

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
    // No part of `--all-targets`, since `cargo test` leaves it out.
    let apart = ["clippy", "-p", "magi-tests", "--test", "installed"];
    cargo::run(cargo(&apart).args(["--", "-D", "warnings"]))?;
    cargo::run(
        cargo(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    archive()?;
    cargo::run(&mut generate::keepers()).context("`cargo xtask generate` mends it")?;
    fuzz_targets()?;
    deny()?;
    say("all checks passed");
    Ok(())
}

/// Checks that the programs of the archive compile, whose C library has other types than this machine's.
fn archive() -> Result<()> {
    let triple = package::musl();
    let library = cargo::printed(Command::new("rustc").args(["--print", "sysroot"]))?;
    let library = String::from_utf8(library)?;
    let library = Path::new(library.trim()).join("lib/rustlib").join(&triple);
    let has_compiler = Command::new("musl-gcc").arg("--version").output().is_ok();
    if !(library.exists() && has_compiler) {
        say(&format!(
            "left out: the programs of the archive, which take `rustup target add {triple}` and musl-gcc"
        ));
        return Ok(());
    }
    cargo::run(&mut cargo(&["check", "--locked", "--target", &triple]))
}

/// Checks the fuzz targets, which are no part of the workspace, without libFuzzer: nothing is linked,
/// so neither it nor a C++ compiler is needed.
fn fuzz_targets() -> Result<()> {
    let manifest = ["--manifest-path", FUZZ];
    cargo::run(cargo(&["fmt", "--check"]).args(manifest))?;
    cargo::run(
        cargo(&["clippy", "--locked"])
            .args(manifest)
            .args(["--", "-D", "warnings"])
            .env("CARGO_TARGET_DIR", target())
            .env("CUSTOM_LIBFUZZER_PATH", "/no/libfuzzer.a"),
    )
}

/// Checks dependencies against `deny.toml`. Advisories need a database from the network, and are
/// left to those who have one.
fn deny() -> Result<()> {
    cargo::provide("deny", CARGO_DENY)?;
    let rules = workspace().join("deny.toml");
    for manifest in ["Cargo.toml", FUZZ] {
        cargo::run(
            cargo(&["deny", "--manifest-path", manifest, "check", "--config"])
                .arg(&rules)
                .args(["bans", "licenses", "sources"]),
        )?;
    }
    Ok(())
}
