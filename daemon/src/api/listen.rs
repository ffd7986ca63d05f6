//! The socket itself.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, chown};
use tokio::net::UnixListener;

/// The group whose members may command magid.
const GROUP: &str = "magi";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}: {reason}", .path.display())]
pub struct ListenError {
    /// The socket.
    pub path: PathBuf,
    /// The system's word.
    pub reason: io::Error,
}

/// Listens on `path`, in place of whatever an earlier magid left there. The caller holds the lock of
/// the state directory, so no other magid listens there.
///
/// # Errors
///
/// Whatever the system says.
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    bind(path).map_err(|reason| ListenError {
        path: path.to_path_buf(),
        reason,
    })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Bound under another name, so that nobody connects before the permissions are right.
    let fresh = path.with_extension("fresh");
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o660))?;
    if Uid::effective().is_root() {
        give_to_group(&fresh)?;
    }
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

fn give_to_group(path: &Path) -> io::Result<()> {
    match Group::from_name(GROUP)? {
        Some(group) => Ok(chown(
            path,
            None::<Uid>,
            Some(Gid::from_raw(group.gid.as_raw())),
        )?),
        // Without the group only root may command magid.
        None => Ok(()),
    }
}
