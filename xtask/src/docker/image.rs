//! Debian as an image, made of packages: what `FROM debian:bookworm-slim` finds where nothing can be
//! pulled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::{Dockerd, cache};
use crate::cargo;
use crate::debian;
use crate::narrate::say;

/// What an image does without, as Debian's own slim ones do.
const LEFT_OUT: [&str; 4] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache/apt/archives",
];

/// Makes sure that there is an image of Debian by this name.
///
/// # Errors
///
/// The mirror does not answer, or docker refuses.
pub(crate) fn ensure(dockerd: &Dockerd, name: &str) -> Result<()> {
    let mut inspect = dockerd.docker(&["image", "inspect", name]);
    let inspect = inspect.stdout(Stdio::null()).stderr(Stdio::null());
    if inspect.status()?.success() {
        return Ok(());
    }
    let archive = archive(name)?;
    let archive = archive.display().to_string();
    cargo::run(&mut dockerd.docker(&["import", "-c", "CMD [\"bash\"]", &archive, name]))
}

/// The files of it, as a tar archive that is kept.
fn archive(name: &str) -> Result<PathBuf> {
    let folder = cache()?;
    let archive = folder.join(format!("{}.tar", name.replace([':', '/'], "-")));
    if archive.exists() {
        return Ok(archive);
    }
    say(&format!(
        "making {name} of Debian packages: about a minute, once"
    ));
    let work = tempfile::tempdir_in(&folder)?;
    let root = work.path().join("root");
    debian::bootstrap(
        &root,
        "",
        &debian::mirror(),
        &folder.join("debootstrap.log"),
    )?;
    for left_out in LEFT_OUT {
        empty(&root.join(left_out))?;
    }
    let unfinished = work.path().join("tar");
    debian::pack(&root, &unfinished)?;
    fs::rename(&unfinished, &archive)?;
    Ok(archive)
}

fn empty(folder: &Path) -> Result<()> {
    match folder.exists() {
        true => fs::remove_dir_all(folder)?,
        false => bail!("debootstrap made no {}", folder.display()),
    }
    fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))
}
