//! Replacing the text of a file that is not ours: somebody's configuration.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use tempfile::NamedTempFile;

use super::TEMPORARY;

/// How many symlinks are followed, as the kernel does.
const LINKS: usize = 40;

/// The mode of a file that was not there.
const FRESH: u32 = 0o640;

/// In the mode of a file: its group may write it.
const GROUP_WRITES: u32 = 0o020;

/// Why a file still has its old text.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Nothing may be changed there.
    #[error("cannot write {}: {} is read-only for magid", .path.display(), .what.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The file itself, or the folder that it is in.
        what: PathBuf,
    },
    /// It would belong to another.
    #[error(
        "cannot write {}: it belongs to user {uid} and group {gid}, and would not any more",
        .path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// The system refuses it otherwise: a full disk, no such folder, no regular file.
    #[error("cannot write {}: {reason}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
}

/// A text that is on disk beside the file whose text it will be. Dropped, it leaves no trace.
#[derive(Debug)]
pub struct Rewrite {
    path: PathBuf,
    target: PathBuf,
    fresh: NamedTempFile,
}

/// Replaces the text of the file at `path`: after a crash at any point it has the old text or the new. A
/// symlink stays one and what it points to is replaced; mode and owner stay, of a file that its group may
/// write at least the group. A file that is not there is made, with mode 0640. Blocks.
///
/// # Errors
///
/// Says why the file still has its old text.
pub fn rewrite(path: &Path, text: impl AsRef<[u8]>) -> Result<(), RewriteError> {
    Rewrite::prepare(path, text)?.finish()
}

impl Rewrite {
    /// Does all of it that may fail for want of room or permission, and changes nothing yet. Blocks.
    ///
    /// # Errors
    ///
    /// Says why the file cannot be replaced.
    pub fn prepare(path: &Path, text: impl AsRef<[u8]>) -> Result<Self, RewriteError> {
        let failed = |reason| RewriteError::Failed {
            path: path.to_path_buf(),
            reason,
        };
        let read_only = |what: &Path| RewriteError::ReadOnly {
            path: path.to_path_buf(),
            what: what.to_path_buf(),
        };
        let target = target(path).map_err(failed)?;
        let former = match fs::symlink_metadata(&target) {
            Ok(meta) if meta.is_file() => Some(meta),
            Ok(_) => return Err(failed(io::Error::other("it is not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        // A rename does not ask for it, but whoever made a file read-only meant it.
        let writable = faccessat(AT_FDCWD, &target, AccessFlags::W_OK, AtFlags::AT_EACCESS);
        if former.is_some() && writable.is_err() {
            return Err(read_only(&target));
        }
        let folder = folder(&target);
        let made = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(Permissions::from_mode(FRESH))
            .tempfile_in(folder);
        let mut fresh = made.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                read_only(folder)
            }
            _ => failed(error),
        })?;
        if let Some(former) = &former {
            keep_owner(fresh.as_file(), former).map_err(|_| RewriteError::NotOurs {
                path: path.to_path_buf(),
                uid: former.uid(),
                gid: former.gid(),
            })?;
            let mode = Permissions::from_mode(former.mode() & 0o7777);
            fresh.as_file().set_permissions(mode).map_err(failed)?;
        }
        fresh.write_all(text.as_ref()).map_err(failed)?;
        fresh.as_file().sync_all().map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            target,
            fresh,
        })
    }

    /// Puts the text in the place of the file. Blocks.
    ///
    /// # Errors
    ///
    /// Says why the file has its old text, or may have it again after a loss of power.
    pub fn finish(self) -> Result<(), RewriteError> {
        let path = self.path;
        let failed = |reason| RewriteError::Failed { path, reason };
        let persisted = self.fresh.persist(&self.target);
        let synced = persisted
            .map_err(|error| error.error)
            .and_then(|_| File::open(folder(&self.target))?.sync_all());
        synced.map_err(failed)
    }
}

/// What a path leads to, whether or not it is there.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = folder(&target).join(next),
            // It is no symlink, or nothing at all.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(target),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its symlinks lead in a circle"))
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Who is not root may give no file away. Where the group may write, it is enough that the group stays:
/// so it is with the profiles that root makes for it.
fn keep_owner(fresh: &File, former: &fs::Metadata) -> io::Result<()> {
    let ours = fresh.metadata()?;
    if (ours.uid(), ours.gid()) == (former.uid(), former.gid()) {
        return Ok(());
    }
    let given = fchown(fresh, Some(former.uid()), Some(former.gid()));
    if given.is_err() && former.mode() & GROUP_WRITES != 0 {
        return fchown(fresh, None, Some(former.gid()));
    }
    given
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::Uid;
    use tempfile::TempDir;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_symlink_stays_one_and_what_it_points_to_is_replaced() {
        let dir = TempDir::new().unwrap();
        let [first, second, file] =
            ["first", "second", "elsewhere/file"].map(|n| dir.path().join(n));
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(&file, "old").unwrap();
        symlink("second", &first).unwrap();
        symlink(&file, &second).unwrap();
        rewrite(&first, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_link(&first).unwrap(), Path::new("second"));
        assert_eq!(names(&dir.path().join("elsewhere")), ["file"]);
        // One that points to nothing leads to where the file would be.
        fs::remove_file(&file).unwrap();
        rewrite(&first, "again").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "again");
    }

    #[test]
    fn the_mode_stays_and_a_file_that_was_not_there_gets_0640() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        rewrite(&path, "first").unwrap();
        assert_eq!(mode() & !0o640, 0);
        for kept in [0o600, 0o664, 0o755] {
            fs::set_permissions(&path, Permissions::from_mode(kept)).unwrap();
            rewrite(&path, "new").unwrap();
            assert_eq!(mode(), kept);
        }
    }

    #[test]
    fn the_owner_stays_if_magid_may_give_files_away() {
        if !Uid::effective().is_root() {
            return;
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        rewrite(&path, "new").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1234, 4321));
    }

    #[test]
    fn what_was_prepared_and_not_finished_leaves_no_trace() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        let prepared = Rewrite::prepare(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(prepared);
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn what_is_read_only_is_told_with_its_path_and_stays_as_it_is() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        let is_told = |path: &Path, what: &Path| {
            let error = rewrite(path, "new").unwrap_err();
            assert!(error.to_string().contains(&what.display().to_string()));
            assert!(
                matches!(&error, RewriteError::ReadOnly { what: told, .. } if told == what),
                "{error:?}"
            );
        };
        // Not even root makes files there.
        is_told(Path::new("/sys/kernel/file"), Path::new("/sys/kernel"));
        if Uid::effective().is_root() {
            return;
        }
        fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        is_told(&path, &path);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o550)).unwrap();
        is_told(&path, dir.path());
        fs::set_permissions(dir.path(), Permissions::from_mode(0o750)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[test]
    fn what_is_no_file_and_a_circle_of_symlinks_are_told() {
        let dir = TempDir::new().unwrap();
        let circle = dir.path().join("circle");
        symlink("circle", &circle).unwrap();
        let missing = dir.path().join("missing/file");
        for (path, why) in [
            (dir.path(), "not a regular file"),
            (&circle, "circle"),
            (&missing, "No such file"),
        ] {
            let error = rewrite(path, "").unwrap_err();
            assert!(matches!(error, RewriteError::Failed { .. }));
            let told = error.to_string();
            assert!(told.contains(why) && told.contains(&path.display().to_string()));
        }
    }
}
