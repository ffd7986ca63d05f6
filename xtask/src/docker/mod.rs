//! A docker of the tests' own, and images for it where none can be pulled.
//!
//! * [`abilities`] are what a machine has to allow for that.
//! * [`daemon`] runs a dockerd with its own data, in a network namespace of its own: it meets no other
//!   docker of the machine, and the ports that containers publish are free.
//! * [`image`] makes the Debian that Dockerfiles begin with, from packages.
//! * [`project`] is the repository as a user has it.
//! * [`mod@test`] is `cargo xtask test docker`.

mod abilities;
mod daemon;
mod image;
mod network;
mod project;
pub(crate) mod test;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

pub(crate) use abilities::{Unable, allowed};
pub(crate) use daemon::Dockerd;

/// Where programs are looked for: Debian's, whatever else the machine has.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The folder of what is slow to make: images, and what docker built.
fn cache() -> Result<PathBuf> {
    let cache = magi_tests::harness::cache().context("set HOME or XDG_CACHE_HOME")?;
    Ok(cache.join("docker"))
}

fn since(began: Timestamp) -> Duration {
    Timestamp::now().duration_since(began).unsigned_abs()
}
