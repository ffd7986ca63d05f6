//! What building a llama-server needs of the machine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use nix::unistd::Uid;

use super::in_path;
use crate::cargo;
use crate::narrate::say;

/// Something that must be there, and the Debian packages that bring it.
struct Need {
    name: &'static str,
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

const NEEDS: [Need; 5] = [
    Need {
        name: "Python 3",
        packages: &["python3"],
        is_there: || in_path("python3").is_some(),
    },
    Need {
        name: "pip",
        packages: &["python3-pip"],
        is_there: || python_has("pip"),
    },
    Need {
        name: "cmake",
        packages: &["cmake"],
        is_there: || in_path("cmake").is_some(),
    },
    Need {
        name: "make",
        packages: &["make"],
        is_there: || in_path("make").is_some(),
    },
    Need {
        name: "a C++ compiler",
        packages: &["g++"],
        is_there: || {
            ["c++", "g++", "clang++"]
                .iter()
                .any(|name| in_path(name).is_some())
        },
    },
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
    let absent: Vec<_> = NEEDS.iter().filter(|need| !(need.is_there)()).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = absent.iter().map(|need| need.name).collect();
    let names = names.join(", ");
    let packages: Vec<_> = absent
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    let install = format!("apt-get install -y {}", packages.join(" "));
    if in_path("apt-get").is_none() || !Path::new("/etc/debian_version").exists() {
        bail!(
            "building a llama-server needs {names}: install it with your package manager (on Debian: \
             {install}), or set LLAMA_SERVER_PATH to a llama-server"
        );
    }
    if !Uid::effective().is_root() {
        bail!("building a llama-server needs {names}: run `sudo {install}`, then this again");
    }
    say(&format!(
        "building a llama-server needs {names}: installing it"
    ));
    let apt = |args: &[&str]| {
        cargo::run(
            Command::new("apt-get")
                .args(args)
                .env("DEBIAN_FRONTEND", "noninteractive")
                // The path of the result is all that belongs on stdout.
                .stdout(std::io::stderr()),
        )
    };
    apt(&["update", "-q"])?;
    apt(&[
        &["install", "-y", "-q", "--no-install-recommends"],
        &packages[..],
    ]
    .concat())
}
