//! Replacing a file as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(std::fs::Permissions::from_mode(0o640))
        .tempfile_in(folder)?;
    fresh.write_all(content)?;
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|error| error.error)?;
    // Without this the rename itself may be lost with the power.
    File::open(folder)?.sync_all()
}
