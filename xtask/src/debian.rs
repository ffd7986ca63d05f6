//! A Debian made of packages, for images where no registry of images may be in reach.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The release: its systemd, 252, is the oldest that magi runs under.
pub(crate) const SUITE: &str = "bookworm";

/// Where packages come from if apt does not know.
const MIRROR: &str = "http://deb.debian.org/debian/";

/// Where programs for root are, also if `PATH` does not say so.
pub(crate) const ROOTS_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Installs the smallest Debian with these packages more, separated by commas, into `root`. What
/// debootstrap writes goes to `log`.
pub(crate) fn install(root: &Path, packages: &str, mirror: &str, log: &Path) -> Result<()> {
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
    crate::cargo::run(
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
