//! `cargo xtask test systemd`: the package, installed by apt under a real systemd, in containers.
//!
//! What is slow is kept in the home folder: the image, by what it is made of, and Docker's own data.

mod image;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use magi_tests::container::{IMAGE, LABEL, PACKAGE, RIGHTS, TARBALL};
use magi_tests::harness::cache;

use crate::cargo::{self, cargo, target};
use crate::docker::{Dockerd, allowed};
use crate::llama_server;
use crate::package::{self, DebOptions, TarballOptions};

/// What to test.
#[derive(Args)]
pub(crate) struct Options {
    /// The package to test, instead of one that is made now
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
    /// Run only tests whose names contain one of these
    filter: Vec<String>,
}

/// Runs the tests of the installed package.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = cache()
        .context("cannot tell where to keep the image: set HOME or XDG_CACHE_HOME")?
        .join("systemd");
    fs::create_dir_all(&folder)?;
    let dockerd = Dockerd::start()?;
    remove_leftovers(&dockerd)?;
    let image = image::Recipe::of_this_machine()?.import(&folder, &dockerd)?;
    let mut container = dockerd.docker(&["run", "--rm"]);
    container.args(RIGHTS).args([&image, "true"]);
    allowed("what systemd needs", &mut container)?;
    let llama_server = llama_server::find_or_build()?;
    let package = package(options.package.as_deref())?;
    let mut test = cargo(&["test", "-p", "magi-tests", "--test", "installed", "--"]);
    test.args(&options.filter)
        .env(IMAGE, image)
        .env(TARBALL, tarball(&package)?)
        .env(PACKAGE, package)
        .env("LLAMA_SERVER_PATH", llama_server);
    dockerd.tell(&mut test);
    cargo::run(&mut test)
}

/// Removes the containers of a run that was killed.
fn remove_leftovers(dockerd: &Dockerd) -> Result<()> {
    let filter = format!("label={LABEL}");
    let listed = dockerd
        .docker(&["ps", "--all", "--quiet", "--filter", &filter])
        .output()?;
    let ids = String::from_utf8_lossy(&listed.stdout);
    let ids: Vec<_> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        let mut remove = dockerd.docker(&["rm", "--force", "--volumes"]);
        remove.args(ids).stdout(Stdio::null()).status()?;
    }
    Ok(())
}

/// An archive with the programs of the package: what is done with it does not depend on how they are linked.
fn tarball(package: &Path) -> Result<PathBuf> {
    let unpacked = target().join("tarball/unpacked");
    fs::create_dir_all(&unpacked)?;
    let mut unpack = Command::new("dpkg-deb");
    cargo::run(unpack.arg("--extract").arg(package).arg(&unpacked))?;
    package::tarball(&TarballOptions {
        target: "as-packaged".to_owned(),
        programs: Some(unpacked.join("usr/bin")),
    })
}

/// The package that was named, else one of what is here.
fn package(named: Option<&Path>) -> Result<PathBuf> {
    let Some(named) = named else {
        return package::deb(&DebOptions::default());
    };
    named
        .canonicalize()
        .with_context(|| format!("cannot find {}", named.display()))
}
