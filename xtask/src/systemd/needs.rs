//! What the machine has to have.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::Uid;

use super::docker;
use crate::cargo;
use crate::debian::ROOTS_PATH;
use crate::narrate::say;

/// Makes sure of Docker, and of what makes the image unless that is kept. Where CI runs, root on Debian
/// installs what is missing; everyone else is told how to.
pub(super) fn ensure(is_image_kept: bool) -> Result<()> {
    let mut packages = Vec::new();
    if !is_program("docker") || !(docker::answers() || is_program("dockerd")) {
        packages.push("docker.io");
    }
    if !is_image_kept && !is_program("debootstrap") {
        packages.push("debootstrap");
    }
    if packages.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y {}", packages.join(" "));
    let may_install = std::env::var("CI").is_ok_and(|value| value == "true")
        && Uid::effective().is_root()
        && Path::new("/etc/debian_version").exists();
    if !may_install {
        bail!(
            "a container with systemd needs {}: run `{install}` as root (or set CI=true as root), \
             then this again",
            packages.join(" and ")
        );
    }
    say(&format!("installing {}", packages.join(" and ")));
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        cargo::run(command.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-q"])?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    apt(&[&install[..], &packages].concat())
}

fn is_program(name: &str) -> bool {
    ROOTS_PATH
        .split(':')
        .any(|folder| Path::new(folder).join(name).is_file())
}
