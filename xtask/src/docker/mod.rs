//! A docker of the tests' own, and images for it where none can be pulled.
//!
//! * [`daemon`] runs a dockerd with its own data, in a network namespace of its own: it meets no other
//!   docker of the machine, and the ports that containers publish are free.
//! * [`image`] makes the Debian that Dockerfiles begin with, from packages.
//! * [`project`] is the repository as a user has it.
//! * [`mod@test`] is `cargo xtask test docker`.

mod daemon;
mod image;
mod network;
mod project;
pub(crate) mod test;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::unistd::Uid;

pub(crate) use daemon::Dockerd;

use crate::cargo;
use crate::narrate::say;

/// Programs, and the Debian packages that bring them.
const NEEDS: [(&str, &str); 7] = [
    ("dockerd", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("curl", "curl"),
    ("shellcheck", "shellcheck"),
];

/// Where programs are looked for: Debian's, whatever else the machine has.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes sure that everything is there: on Debian it is installed.
///
/// # Errors
///
/// This is not root, or it cannot be installed.
fn ensure_needs() -> Result<()> {
    if !Uid::effective().is_root() {
        bail!("a docker of one's own takes root: run this with sudo");
    }
    let is_there = |name: &str| env::split_paths(PATH).any(|folder| folder.join(name).exists());
    let absent = NEEDS.iter().filter(|(name, _)| !is_there(name));
    let packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    say(&format!("installing {}", packages.join(", ")));
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        cargo::run(apt.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-q"])?;
    let install = ["install", "-qy", "--no-install-recommends"];
    apt(&[&install[..], &packages[..]].concat())
}

/// The folder of what is slow to make: images, and what docker built.
fn cache() -> Result<PathBuf> {
    let cache = magi_tests::harness::cache().context("set HOME or XDG_CACHE_HOME")?;
    Ok(cache.join("docker"))
}

fn since(began: Timestamp) -> Duration {
    Timestamp::now().duration_since(began).unsigned_abs()
}
