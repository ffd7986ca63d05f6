//! The image: a small Debian with systemd, made from Debian's own packages, since where tests run no
//! registry of images may be in reach.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::cargo;
use crate::debian::{self, SUITE};
use crate::docker::Dockerd;
use crate::narrate::say;

/// What is in it beside what every Debian has: systemd, also for users, what tests look with, and the
/// libraries of a llama-server.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,dbus-user-session,curl,procps,\
                        ca-certificates,libgomp1,libstdc++6";

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
            mirror: debian::mirror(),
            digest: digest[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        })
    }

    /// Makes the image known to Docker, making it first if it is not kept in `folder`, and gives its name.
    pub(super) fn import(&self, folder: &Path, dockerd: &Dockerd) -> Result<String> {
        let name = format!("magi-systemd:{}", self.digest);
        let archive = folder.join(format!("image-{}.tar", self.digest));
        if !archive.exists() {
            self.make(folder, &archive)?;
        }
        let mut known = dockerd.docker(&["image", "inspect", &name]);
        let known = known.stdout(Stdio::null()).stderr(Stdio::null());
        if !known.status()?.success() {
            let mut import = dockerd.docker(&["import"]);
            cargo::run(import.arg(&archive).arg(&name).stdout(Stdio::null()))?;
        }
        Ok(name)
    }

    fn make(&self, folder: &Path, archive: &Path) -> Result<()> {
        say(&format!(
            "making a Debian {SUITE} with systemd from {}: about a minute, once; it is kept in {}",
            self.mirror,
            archive.display()
        ));
        let work = tempfile::tempdir_in(folder)?;
        let (root, log) = (work.path().join("root"), folder.join("debootstrap.log"));
        debian::bootstrap(&root, PACKAGES, &self.mirror, &log)?;
        slim(&root)?;
        let part = work.path().join("image.tar");
        debian::pack(&root, &part)?;
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
