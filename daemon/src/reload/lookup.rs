//! Finding the programs that a profile names.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program that a path or a name stands for: a name is looked up in `PATH`. What cannot be found
/// stays as it is, and fails when it is run.
pub(crate) fn program(written: &Path, search_path: Option<&str>) -> PathBuf {
    if written.components().count() != 1 || written.is_absolute() {
        return written.to_path_buf();
    }
    let folders = search_path
        .unwrap_or_default()
        .split(':')
        .filter(|f| !f.is_empty());
    let mut candidates = folders.map(|folder| Path::new(folder).join(written));
    candidates
        .find(|path| {
            std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
        .unwrap_or_else(|| written.to_path_buf())
}
