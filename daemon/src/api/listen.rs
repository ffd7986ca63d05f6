//! The sockets themselves.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, chown};
use tokio::net::UnixListener;

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketGroup {
    /// Of those who may command magid.
    Operators,
    /// Of gateways.
    Gateways,
}

impl SocketGroup {
    fn name(self) -> &'static str {
        match self {
            Self::Operators => "magi",
            Self::Gateways => "magi-gateway",
        }
    }
}

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
pub fn listen(path: &Path, group: SocketGroup) -> Result<UnixListener, ListenError> {
    bind(path, group).map_err(|reason| ListenError {
        path: path.to_path_buf(),
        reason,
    })
}

fn bind(path: &Path, group: SocketGroup) -> io::Result<UnixListener> {
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
    let given = give_to_group(&fresh, group);
    // Others can give it only to groups that they are in.
    if Uid::effective().is_root() {
        given?;
    }
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

fn give_to_group(path: &Path, group: SocketGroup) -> io::Result<()> {
    match Group::from_name(group.name())? {
        Some(group) => Ok(chown(
            path,
            None::<Uid>,
            Some(Gid::from_raw(group.gid.as_raw())),
        )?),
        // Without the group only root may open it.
        None => Ok(()),
    }
}
