//! Replacing a file as a whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// How the names of files begin that nobody but their writer knows. What has such a name and no writer is
/// left of one that was killed.
pub const TEMPORARY: &str = ".magi-";

/// Replaces the content of `path`: after a crash at any point it holds the old content or the new.
/// The file gets mode 0640.
///
/// # Errors
///
/// Whatever the system says; the old content is then untouched.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, |file| file.write_all(content))
}

/// The same with content that need not be in memory as a whole.
///
/// # Errors
///
/// Whatever the system or `write` says; the old content is then untouched.
pub fn replace_by(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let fresh = prepare_by(path, write)?;
    fresh.persist(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// Makes the file `path`, whole or not at all, with mode 0640.
///
/// # Errors
///
/// Whatever the system says; if there is something of that name, that it exists already.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    let fresh = prepare(path, text.as_bytes())?;
    fresh.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// Removes what writers that were killed have left in a folder in which nobody writes now. Blocks.
pub fn sweep(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
    });
    for entry in left {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

fn prepare(path: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    prepare_by(path, |file| file.write_all(content))
}

fn prepare_by(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut fresh = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(std::fs::Permissions::from_mode(0o640))
        .tempfile_in(folder(path))?;
    let mut buffered = BufWriter::new(fresh.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    fresh.as_file().sync_all()?;
    Ok(fresh)
}

/// Without this the rename itself may be lost with the power.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_writer_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".magi-a1B2c3", ".magi", "magid.lock", ".hidden"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join(".magi-folder")).unwrap();
        sweep(folder.path());
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".hidden", ".magi", ".magi-folder", "magid.lock"]);
    }
}
