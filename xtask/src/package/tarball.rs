//! `cargo xtask package tarball`: for systems other than Debian, and for those who are not root.
//!
//! The programs are linked with musl, so they need no library and run on any Linux of their
//! architecture. The folders are those of `/usr`, but for `etc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use super::{COMPLETIONS, PROGRAMS, prepare};
use crate::cargo::{self, target, workspace};

/// How an archive is made.
#[derive(Args)]
pub(crate) struct TarballOptions {
    /// What it is for, as Rust calls it
    #[arg(long, value_name = "TRIPLE", default_value_t = musl())]
    pub(crate) target: String,
    /// Take the programs from this folder, and build none
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
}

/// What the archive is for by default: this machine's kind, and any Linux of it.
pub(crate) fn musl() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// What goes into it from the repository, and where to.
const FILES: [(&str, &str); 9] = [
    ("README.md", "share/doc/magi"),
    ("CHANGELOG.md", "share/doc/magi"),
    ("LICENSE-APACHE", "share/doc/magi"),
    ("LICENSE-MIT", "share/doc/magi"),
    ("config/magid.toml", "etc/magi"),
    ("config/gateway.toml", "etc/magi"),
    ("config/profiles", "etc/magi/profiles"),
    ("config/schema", "etc/magi/schema"),
    ("systemd", "share/magi/systemd"),
];

/// Makes the archive, and returns its path.
pub(crate) fn make(options: &TarballOptions) -> Result<PathBuf> {
    let name = format!("magi-{}-{}", env!("CARGO_PKG_VERSION"), options.target);
    let stage = target().join("tarball");
    let files = stage.join("files").join(&options.target);
    let root = stage.join(&name);
    prepare(options.programs.as_deref(), Some(&options.target), &files)?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for program in PROGRAMS {
        copy(&files.join(program), &root.join("bin"))?;
        let mut strip = Command::new("strip");
        cargo::run(strip.arg(root.join("bin").join(program)))?;
    }
    for (shell, script) in COMPLETIONS {
        let folder = root.join("share/magi/completions").join(shell);
        copy(&files.join("completions").join(script), &folder)?;
    }
    for (from, folder) in FILES {
        copy(&workspace().join(from), &root.join(folder))?;
    }
    pages(&root)?;
    let archive = stage.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-czf",
    ])
    .arg(&archive)
    .arg("-C")
    .arg(&stage)
    .arg(&name);
    cargo::run(&mut tar)?;
    Ok(archive)
}

/// Puts the man pages where `man` looks for them.
fn pages(root: &Path) -> Result<()> {
    for entry in fs::read_dir(workspace().join("docs/man"))? {
        let page = entry?.path();
        let section = page.extension().context("a man page has a section")?;
        let folder = format!("share/man/man{}", section.to_string_lossy());
        copy(&page, &root.join(folder))?;
    }
    Ok(())
}

/// Copies a file into a folder, or what a folder holds.
fn copy(from: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    if !from.is_dir() {
        let name = from.file_name().context("a file has a name")?;
        let copied = fs::copy(from, folder.join(name));
        copied.with_context(|| format!("cannot copy {}", from.display()))?;
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?.path();
        let name = entry.file_name().context("an entry has a name")?;
        let inner = if entry.is_dir() {
            folder.join(name)
        } else {
            folder.to_owned()
        };
        copy(&entry, &inner)?;
    }
    Ok(())
}
