//! `cargo xtask test systemd`: the package, installed by apt under a real systemd, in containers.
//!
//! What is slow is kept in the home folder: the image, by what it is made of, and Docker's own data.

mod docker;
mod image;
mod needs;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use magi_tests::container::{IMAGE, PACKAGE};
use magi_tests::harness::cache;

use crate::cargo::{self, cargo};
use crate::llama_server;
use crate::narrate::say;
use crate::package::{self, DebOptions};
use docker::Docker;

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
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        say("another process runs these tests: waiting for it");
        lock.lock()?;
    }
    let recipe = image::Recipe::of_this_machine()?;
    needs::ensure(recipe.is_kept(&folder))?;
    let llama_server = llama_server::find_or_build()?;
    let package = package(options.package.as_deref())?;
    let docker = Docker::find_or_start(&folder)?;
    docker.remove_leftovers()?;
    let image = recipe.import(&folder, &docker)?;
    let mut test = cargo(&["test", "-p", "magi-tests", "--test", "installed", "--"]);
    test.args(&options.filter)
        .env(IMAGE, image)
        .env(PACKAGE, package)
        .env("LLAMA_SERVER_PATH", llama_server);
    docker.tell(&mut test);
    cargo::run(&mut test)
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
