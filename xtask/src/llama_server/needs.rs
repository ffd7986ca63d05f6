//! What building a llama-server needs of the machine.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::in_path;
use crate::debian;

/// A Debian package, and whether what it brings is there.
type Need = (&'static str, fn() -> bool);

const NEEDS: [Need; 5] = [
    ("python3", || in_path("python3").is_some()),
    ("python3-pip", || python_has("pip")),
    ("cmake", || in_path("cmake").is_some()),
    ("make", || in_path("make").is_some()),
    ("g++", || {
        let mut compilers = ["c++", "g++", "clang++"].iter();
        compilers.any(|name| in_path(name).is_some())
    }),
];

fn python_has(module: &str) -> bool {
    Command::new("python3")
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Makes sure that all of it is there: root on Debian installs it, everyone else is told how to.
pub(super) fn ensure() -> Result<()> {
    let absent = NEEDS.iter().filter(|(_, is_there)| !is_there());
    let packages: Vec<_> = absent.map(|(package, _)| *package).collect();
    debian::add(&packages, "building a llama-server")
        .context("LLAMA_SERVER_PATH can name a llama-server instead")
}
