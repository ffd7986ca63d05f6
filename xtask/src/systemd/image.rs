//! The image: a small Debian with systemd, made from Debian's own packages, since where tests run no
//! registry of images may be in reach.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::docker::Docker;
use super::needs::ROOTS_PATH;
use crate::cargo;
use crate::narrate::say;

/// The release of Debian: its systemd, 252, is the oldest that magi runs under.
const SUITE: &str = "bookworm";

/// What is in it beside what every Debian has: systemd, what tests look with, and the libraries of a
/// llama-server.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,curl,procps,ca-certificates,libgomp1,libstdc++6";

/// Where packages come from if apt does not know.
const MIRROR: &str = "http://deb.debian.org/debian/";

/// To be counted up when anything else about the image changes.
const EDITION: u32 = 1;

/// What the image is made of.
pub(super) struct Recipe {
    mirror: String,
    digest: String,
}

impl Recipe {
    /// With the mirror that apt uses here. The mirror is no part of the digest: from each come the same
    /// packages.
    pub(super) fn of_this_machine() -> Result<Self> {
        let text = format!("{EDITION} {SUITE} {PACKAGES} {}", std::env::consts::ARCH);
        let digest = Sha256::digest(text.as_bytes());
        Ok(Self {
            mirror: mirror().unwrap_or_else(|| MIRROR.to_owned()),
            digest: digest[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        })
    }

    /// Whether it was made before.
    pub(super) fn is_kept(&self, folder: &Path) -> bool {
        self.archive(folder).exists()
    }

    /// Makes the image known to Docker, making it first if it is not kept in `folder`, and gives its name.
    pub(super) fn import(&self, folder: &Path, docker: &Docker) -> Result<String> {
        let name = format!("magi-systemd:{}", self.digest);
        let archive = self.archive(folder);
        if !archive.exists() {
            self.make(folder, &archive)?;
        }
        let known = docker
            .command()
            .args(["image", "inspect", &name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !known.success() {
            let mut import = docker.command();
            cargo::run(
                import
                    .arg("import")
                    .arg(&archive)
                    .arg(&name)
                    .stdout(Stdio::null()),
            )?;
        }
        Ok(name)
    }

    fn archive(&self, folder: &Path) -> PathBuf {
        folder.join(format!("image-{}.tar", self.digest))
    }

    fn make(&self, folder: &Path, archive: &Path) -> Result<()> {
        say(&format!(
            "making a Debian {SUITE} with systemd from {}: about a minute, once; it is kept in {}",
            self.mirror,
            archive.display()
        ));
        let work = tempfile::tempdir_in(folder)?;
        let (root, log) = (work.path().join("root"), folder.join("debootstrap.log"));
        let output = File::create(&log)?;
        let made = Command::new("debootstrap")
            .env("PATH", ROOTS_PATH)
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE])
            .arg(&root)
            .arg(&self.mirror)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .context("cannot run debootstrap")?;
        if !made.success() {
            bail!("debootstrap ended with {made}: see {}", log.display());
        }
        slim(&root)?;
        let part = work.path().join("image.tar");
        cargo::run(
            Command::new("tar")
                .args(["--create", "--numeric-owner", "--file"])
                .arg(&part)
                .arg("--directory")
                .arg(&root)
                .arg("."),
        )?;
        Ok(fs::rename(part, archive)?)
    }
}

/// Takes away what apt has of the archive's packages: tests install from a file, and apt would read all
/// of it first.
fn slim(root: &Path) -> Result<()> {
    for folder in ["var/lib/apt/lists", "var/cache/apt"] {
        let folder = root.join(folder);
        fs::remove_dir_all(&folder)?;
        fs::create_dir(&folder)?;
    }
    Ok(())
}

/// The first mirror of Debian that apt uses here.
fn mirror() -> Option<String> {
    let listed = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .args(["Created-By: Packages", "Component: main"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let mirrors = text.lines().map(str::trim);
    mirrors
        .filter(|line| line.ends_with("/debian/") || line.ends_with("/debian"))
        .map(str::to_owned)
        .next()
}
