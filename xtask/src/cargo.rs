//! Running cargo and other programs in the workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::narrate::say;

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |told| workspace().join(told))
}

/// The cargo that runs this, to be run with `args` in the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(workspace());
    command
}

/// Says what it runs, and runs it to its end.
///
/// # Errors
///
/// If it cannot be run, or ends other than with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let name = Path::new(command.get_program()).file_name().map_or_else(
        || words[0].clone(),
        |name| name.to_string_lossy().into_owned(),
    );
    let shown = format!("{name} {}", words[1..].join(" "));
    say(&shown);
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", words[0]))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// What a command prints on stdout.
///
/// # Errors
///
/// If it cannot be run, or ends other than with 0.
pub(crate) fn printed(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}", output.status);
    }
    Ok(output.stdout)
}

/// Installs a command of cargo's where there is none. `package` is its name and version.
///
/// # Errors
///
/// If it cannot be installed.
pub(crate) fn provide(command: &str, package: &str) -> Result<()> {
    let present = cargo(&[command, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success();
    if !present {
        say(&format!(
            "there is no cargo-{command}: installing it, once, which takes some minutes"
        ));
        run(&mut cargo(&["install", "--locked", package]))?;
    }
    Ok(())
}

/// Builds every program of the workspace. Always all of them: cargo would build the dependencies anew
/// for each choice of packages that needs other features of them.
///
/// # Errors
///
/// If it does not build.
pub(crate) fn build_programs(options: &[&str]) -> Result<()> {
    let build = ["build", "--workspace", "--bins"];
    run(cargo(&build).args(options))
}
