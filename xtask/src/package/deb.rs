//! `cargo xtask package deb`: cargo-deb does it, as `daemon/Cargo.toml` tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use super::{PROFILE, prepare};
use crate::cargo::{self, cargo, target, workspace};
use crate::narrate::say;

/// The version of cargo-deb that is installed where there is none.
const CARGO_DEB: &str = "cargo-deb@3.8.0";

/// What follows the version where nobody says it.
const REVISION: &str = "1";

/// How a .deb is made.
#[derive(Args)]
pub(crate) struct DebOptions {
    /// Take the programs from this folder, and build none
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// What follows the version; a later one is an upgrade
    #[arg(long, value_name = "N", default_value = REVISION)]
    revision: String,
}

impl Default for DebOptions {
    fn default() -> Self {
        Self {
            programs: None,
            revision: REVISION.to_owned(),
        }
    }
}

/// Makes a package for Debian, and returns its path.
pub(crate) fn make(options: &DebOptions) -> Result<PathBuf> {
    // Not cargo's own folder, where it would be taken for what cargo built.
    let stage = target().join("deb");
    let files = stage.join(PROFILE);
    prepare(options.programs.as_deref(), None, &files)?;
    changelog(&files, &options.revision)?;
    let package = assemble(&stage, options)?;
    lint(&package)?;
    Ok(package)
}

/// Writes what Debian wants to know of the package itself; what is new in magi is in CHANGELOG.md.
fn changelog(files: &Path, revision: &str) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%cD"])
        .current_dir(workspace());
    let date = String::from_utf8(cargo::printed(&mut git)?)?;
    let version = env!("CARGO_PKG_VERSION");
    let maintainer = maintainer()?;
    let text = format!(
        "magi ({version}-{revision}) unstable; urgency=medium\n\n  \
         * What is new is in /usr/share/doc/magi/changelog.gz.\n\n \
         -- {maintainer}  {date}"
    );
    let file = files.join("changelog.Debian");
    fs::write(&file, text)?;
    cargo::run(Command::new("gzip").arg("-9nf").arg(file))
}

/// Who stands for the package, as its metadata have it.
fn maintainer() -> Result<String> {
    let manifest = fs::read_to_string(workspace().join("daemon/Cargo.toml"))?;
    let value = manifest
        .lines()
        .find_map(|line| line.strip_prefix("maintainer = "));
    let value = value.context("daemon/Cargo.toml names no maintainer")?;
    Ok(value.trim_matches('"').to_owned())
}

/// Has cargo-deb put everything together. Returns the path of the package.
fn assemble(stage: &Path, options: &DebOptions) -> Result<PathBuf> {
    cargo::provide("deb", CARGO_DEB)?;
    let output = target().join("debian");
    let mut deb = cargo(&["deb", "--locked", "--no-build", "--package", "magid"]);
    deb.args(["--profile", PROFILE, "--deb-revision", &options.revision])
        .arg("--output")
        .arg(&output)
        .env("CARGO_TARGET_DIR", stage);
    say("cargo deb");
    let paths = String::from_utf8(cargo::printed(&mut deb)?)?;
    let package = paths.lines().find(|path| !path.contains("-dbgsym_"));
    Ok(package.context("cargo-deb named no package")?.into())
}

/// Has Debian's own judge look at it, where there is one.
fn lint(package: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--fail-on", "error", "--allow-root"])
        .arg(package);
    // What it says is narration: the path alone is the result.
    lintian.stdout(Stdio::from(std::io::stderr()));
    if Command::new("lintian").arg("--version").output().is_err() {
        say("the package was not judged: there is no lintian");
        return Ok(());
    }
    cargo::run(&mut lintian)
}
