//! Debian's packages: what this machine lacks, and a Debian made of them, for images where no registry of
//! images may be in reach.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::cargo;
use crate::narrate::say;

/// The release: its systemd, 252, is the oldest that magi runs under.
pub(crate) const SUITE: &str = "bookworm";

/// Where packages come from if apt does not know.
const MIRROR: &str = "http://deb.debian.org/debian/";

/// Where programs for root are, also if `PATH` does not say so.
const ROOTS_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes sure of programs, each beside the package that brings it.
pub(crate) fn provide(needs: &[(&str, &str)]) -> Result<()> {
    let is_there = |name: &str| {
        ROOTS_PATH
            .split(':')
            .any(|at| Path::new(at).join(name).exists())
    };
    let absent = needs.iter().filter(|(name, _)| !is_there(name));
    let packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    add(&packages, "this")
}

/// Adds packages to this machine: root on Debian does it, everyone else is told how to. `what` needs them.
pub(crate) fn add(packages: &[&str], what: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !Path::new("/etc/debian_version").exists() {
        bail!("{what} needs what Debian has in {names}: install it with your package manager");
    }
    if !Uid::effective().is_root() {
        bail!("{what} needs {names}: run `sudo apt-get install -y {names}`, then this again");
    }
    say(&format!("{what} needs {names}: installing it"));
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        // What a command prints on stdout is its result.
        cargo::run(apt.stdout(std::io::stderr()))
    };
    apt(&["update", "-q"])?;
    let install = ["install", "-qy", "--no-install-recommends"];
    apt(&[&install[..], packages].concat())
}

/// Installs the smallest Debian with these packages more, separated by commas, into `root`. What
/// debootstrap writes goes to `log`.
pub(crate) fn bootstrap(root: &Path, packages: &str, mirror: &str, log: &Path) -> Result<()> {
    let output = File::create(log)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.env("PATH", ROOTS_PATH).arg("--variant=minbase");
    if !packages.is_empty() {
        debootstrap.arg(format!("--include={packages}"));
    }
    let made = debootstrap
        .arg(SUITE)
        .arg(root)
        .arg(mirror)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot run debootstrap")?;
    if !made.success() {
        bail!("debootstrap ended with {made}: see {}", log.display());
    }
    Ok(())
}

/// Packs what is below `root` as an image is imported.
pub(crate) fn pack(root: &Path, archive: &Path) -> Result<()> {
    cargo::run(
        Command::new("tar")
            .args(["--create", "--numeric-owner", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(root)
            .arg("."),
    )
}

/// The mirror of Debian that apt uses here, else Debian's own.
pub(crate) fn mirror() -> String {
    let listed = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .args(["Created-By: Packages", "Component: main"])
        .output();
    let text = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned());
    let text = text.unwrap_or_default();
    let mut mirrors = text.lines().map(str::trim);
    let found = mirrors.find(|line| line.ends_with("/debian/") || line.ends_with("/debian"));
    found.unwrap_or(MIRROR).to_owned()
}
