//! The official Python clients of OpenAI and Anthropic, in a virtual environment of their own that is
//! kept outside `target/`, by version.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use magi_tests::harness::{PYTHON_CLIENTS, cached_python_clients};

use crate::narrate::say;

/// Finds or makes the environment, and gives its Python. Without Python's `venv`, or without a
/// network, there is none, and that is said: the tests that need it are skipped then, by name.
pub(crate) fn find_or_install() -> Option<PathBuf> {
    let installed = cached_python_clients()
        .context("cannot tell where to keep them: set HOME or XDG_CACHE_HOME")
        .and_then(|python| find_or_install_at(&python).map(|()| python));
    match installed {
        Ok(python) => {
            say(&format!("Python clients: {} (cache)", python.display()));
            Some(python)
        }
        Err(error) => {
            say(&format!("there are no Python clients: {error:#}"));
            None
        }
    }
}

/// Of two processes that want it at once, one installs.
fn find_or_install_at(python: &Path) -> Result<()> {
    let bin = python.parent().context("a program is in a folder")?;
    let folder = bin.parent().context("bin is in a folder")?;
    let kept = folder.parent().context("the cache is a folder")?;
    fs::create_dir_all(kept)?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    // Written when all the rest is: whatever is without it was interrupted.
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(());
    }
    say(&format!(
        "installing {} into {}",
        PYTHON_CLIENTS.join(" and "),
        folder.display()
    ));
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .context("Python has no venv (on Debian: apt-get install python3-venv)")?;
    let pip = [
        "-m",
        "pip",
        "install",
        // Errors, and no word of each new try.
        "-qq",
        "--disable-pip-version-check",
    ];
    run(Command::new(python).args(pip).args(PYTHON_CLIENTS)).context("pip cannot install them")?;
    File::create(complete)?;
    Ok(())
}

/// Runs a program, and gives what it wrote if it fails.
fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let written = [output.stdout, output.stderr].concat();
        bail!("{}", String::from_utf8_lossy(&written).trim());
    }
    Ok(())
}
