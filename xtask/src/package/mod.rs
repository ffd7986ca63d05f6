//! `cargo xtask package`: what people install.
//!
//! The programs are built, and the completions that they print are put beside them; [`mod@deb`] and [`mod@tarball`]
//! make something of it.

mod deb;
mod tarball;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::cargo::{self, cargo, target};

pub(crate) use deb::{DebOptions, make as deb};
pub(crate) use tarball::{TarballOptions, make as tarball, musl};

/// The programs that people get.
const PROGRAMS: [&str; 3] = ["magid", "magi-gateway", "magictl"];

/// The profile of Cargo.toml that they are built with.
const PROFILE: &str = "dist";

/// Shells, and what each calls a file with completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "magictl"),
    ("zsh", "_magictl"),
    ("fish", "magictl.fish"),
];

/// What is made.
#[derive(Subcommand)]
pub(crate) enum Package {
    /// Make a package for Debian and its kin of all three programs, and print its path
    Deb(DebOptions),
    /// Make an archive of all three programs that need no library, and print its path
    Tarball(tarball::TarballOptions),
}

/// Makes it.
pub(crate) fn run(package: &Package) -> Result<()> {
    let made = match package {
        Package::Deb(options) => deb::make(options)?,
        Package::Tarball(options) => tarball::make(options)?,
    };
    println!("{}", made.display());
    Ok(())
}

/// Builds the programs, or takes those of `programs`, and puts them into `files` with what they print.
fn prepare(programs: Option<&Path>, triple: Option<&str>, files: &Path) -> Result<()> {
    let built = match programs {
        Some(folder) => folder.to_owned(),
        None => build(triple)?,
    };
    fs::create_dir_all(files)?;
    for name in PROGRAMS {
        let from = built.join(name);
        fs::copy(&from, files.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    completions(files)
}

/// Builds the programs. Returns the folder that they are in.
fn build(triple: Option<&str>) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--locked", "--profile", PROFILE]);
    let folder = match triple {
        Some(triple) => {
            build.args(["--target", triple]);
            target().join(triple)
        }
        None => target(),
    };
    cargo::run(&mut build)?;
    Ok(folder.join(PROFILE))
}

/// Has the program print what completes its command line.
fn completions(files: &Path) -> Result<()> {
    let folder = files.join("completions");
    fs::create_dir_all(&folder)?;
    for (shell, name) in COMPLETIONS {
        let mut magictl = Command::new(files.join("magictl"));
        let script = cargo::printed(magictl.args(["completions", shell]))?;
        fs::write(folder.join(name), script)?;
    }
    Ok(())
}
