//! Reading what the header of a file says.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::{group, id};
use crate::gguf::{self, Facts};

/// What the header of one file says. Blocks.
pub(super) fn read(path: &Path) -> Result<Facts, String> {
    let (file, length) = open(path).map_err(|error| error.to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    gguf::read(file, length, &name).map_err(|error| error.to_string())
}

/// What the header of a model's file says, with all its shards, also of one outside the registry.
/// Blocks.
///
/// # Errors
///
/// Says why it is no model, as the end of a sentence: "cannot use FILE: …".
pub fn facts_of(path: &Path) -> Result<Arc<Facts>, String> {
    let facts = Arc::new(read(path)?);
    if facts.split.is_none() {
        return match group::no_model(facts.role) {
            Some(why) => Err(why.to_owned()),
            None => Ok(facts),
        };
    }
    let mut files = vec![(path.to_path_buf(), facts)];
    for shard in shards(path).map_err(|error| error.to_string())? {
        if shard != path {
            let facts = Arc::new(read(&shard)?);
            files.push((shard, facts));
        }
    }
    let named: Vec<_> = files
        .iter()
        .map(|(path, facts)| (path.as_path(), facts))
        .collect();
    let joined = group::join(&named);
    let mut models = joined.models.into_iter();
    let model = models.find(|parts| parts.files.contains(&0));
    model.map(|parts| parts.facts).ok_or_else(|| {
        let mut problems = joined.problems.into_iter().map(|(_, why)| why);
        problems
            .next()
            .unwrap_or_else(|| "its shards do not fit together".to_owned())
    })
}

/// The files beside this one whose names differ in the number of the shard only.
fn shards(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let name = id::stem(path);
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let beside = path.with_file_name(entry?.file_name());
        let is_gguf = beside.extension().is_some_and(|ending| ending == "gguf");
        if is_gguf && id::stem(&beside) == name {
            shards.push(beside);
        }
    }
    Ok(shards)
}

/// Opens a regular file, which a pipe in its place is not, and says its length.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta.len())),
        false => Err(io::Error::other("it is not a regular file")),
    }
}
