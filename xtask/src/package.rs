//! `cargo xtask package`: what people install.
//!
//! The programs are built, and what is made of them (completions) and of the history (the changelog) is
//! put beside them; cargo-deb does the rest, as `daemon/Cargo.toml` tells it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::cargo::{self, cargo, target, workspace};
use crate::narrate::say;

/// The version of cargo-deb that is installed where there is none.
const CARGO_DEB: &str = "cargo-deb@3.8.0";

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

/// What follows the version where nobody says it.
const REVISION: &str = "1";

/// What is made.
#[derive(Subcommand)]
pub(crate) enum Package {
    /// Make a package for Debian and its kin of all three programs, and print its path
    Deb(DebOptions),
}

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

/// Makes it.
pub(crate) fn run(package: &Package) -> Result<()> {
    match package {
        Package::Deb(options) => println!("{}", deb(options)?.display()),
    }
    Ok(())
}

/// Makes a package for Debian, and returns its path.
pub(crate) fn deb(options: &DebOptions) -> Result<PathBuf> {
    let built = target().join(PROFILE);
    let programs = match &options.programs {
        Some(folder) => folder,
        None => {
            cargo::run(&mut cargo(&["build", "--locked", "--profile", PROFILE]))?;
            &built
        }
    };
    // Not cargo's own folder: what is copied there would be taken for what it built.
    let stage = target().join("deb");
    let files = stage.join(PROFILE);
    fs::create_dir_all(&files)?;
    for name in PROGRAMS {
        let from = programs.join(name);
        fs::copy(&from, files.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    completions(&files)?;
    changelog(&files, &options.revision)?;
    assemble(&stage, options)
}

/// Has the program print what completes its command line.
fn completions(files: &Path) -> Result<()> {
    let folder = files.join("completions");
    fs::create_dir_all(&folder)?;
    for (shell, name) in COMPLETIONS {
        let mut magictl = Command::new(files.join("magictl"));
        fs::write(
            folder.join(name),
            printed(magictl.args(["completions", shell]))?,
        )?;
    }
    Ok(())
}

/// Writes what Debian wants to know of the package itself; what is new in magi is in CHANGELOG.md.
fn changelog(files: &Path, revision: &str) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%cD"])
        .current_dir(workspace());
    let date = String::from_utf8(printed(&mut git)?)?;
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
    let paths = String::from_utf8(printed(&mut deb)?)?;
    let package = paths.lines().find(|path| !path.contains("-dbgsym_"));
    Ok(package.context("cargo-deb named no package")?.into())
}

/// What a command prints on stdout.
fn printed(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}", output.status);
    }
    Ok(output.stdout)
}
