//! `cargo xtask llama-server`: a real llama-server, whatever it takes.

mod build;
mod needs;

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use magi_tests::harness::cached_llama_server;

use crate::narrate::say;

/// What is built and kept: llama-server, and what tells how much memory it will take.
const PROGRAMS: [&str; 2] = ["llama-server", "llama-fit-params"];

/// Prints the path of a llama-server.
pub(crate) fn run() -> Result<()> {
    println!("{}", find_or_build()?.display());
    Ok(())
}

/// The user's own llama-server, else the cached one, else a new one.
pub(crate) fn find_or_build() -> Result<PathBuf> {
    if let Some(told) = env::var_os("LLAMA_SERVER_PATH").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(told);
        if !is_program(&path) {
            bail!(
                "LLAMA_SERVER_PATH is {}, which cannot be executed: correct or unset it",
                path.display()
            );
        }
        say(&format!(
            "llama-server: {} (LLAMA_SERVER_PATH)",
            path.display()
        ));
        return Ok(path);
    }
    if let Some(path) = in_path("llama-server") {
        say(&format!("llama-server: {} (PATH)", path.display()));
        return Ok(path);
    }
    let cache = cached_llama_server()
        .context("cannot tell where to keep a llama-server: set HOME or XDG_CACHE_HOME")?;
    let folder = cache.parent().context("the cache is a folder")?;
    if !is_complete(folder) {
        build::into(folder)?;
    }
    say(&format!("llama-server: {} (cache)", cache.display()));
    Ok(cache)
}

/// The first program of this name in `PATH`.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

/// Whether all that is kept is there.
fn is_complete(folder: &Path) -> bool {
    let mut programs = PROGRAMS.iter();
    programs.all(|name| is_program(&folder.join(name)))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
