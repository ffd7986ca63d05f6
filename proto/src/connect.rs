//! Finding and reaching the daemon's socket.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// A connection to magid.
pub type DaemonChannel = Channel;

/// The socket's place under systemd.
const SYSTEM_SOCKET: &str = "/run/magi/magid.sock";

/// Why no daemon was reached.
#[derive(Debug, Error)]
#[error("cannot reach magid: {}", tried(.attempts))]
pub struct ConnectError {
    /// The sockets that were tried, in order, and what each answered.
    pub attempts: Vec<(PathBuf, io::Error)>,
}

impl ConnectError {
    /// Whether a socket is there that this user may not open.
    pub fn is_permission_denied(&self) -> bool {
        self.attempts
            .iter()
            .any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied)
    }
}

fn tried(attempts: &[(PathBuf, io::Error)]) -> String {
    let each: Vec<_> = attempts
        .iter()
        .map(|(path, error)| format!("{}: {error}", path.display()))
        .collect();
    each.join("; ")
}

/// The sockets a client tries, in order: the one it is told, else `MAGI_SOCKET`, else the user's own
/// one where it exists, and then the system's.
pub fn socket_candidates(explicit: Option<&Path>) -> Vec<PathBuf> {
    let named = explicit
        .map(Path::to_path_buf)
        .or_else(|| non_empty_var("MAGI_SOCKET").map(PathBuf::from));
    if let Some(path) = named {
        return vec![path];
    }
    let mut candidates = Vec::new();
    candidates.extend(non_empty_var("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("magi")));
    let state = non_empty_var("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| non_empty_var("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    candidates.extend(state.map(|dir| dir.join("magi/run")));
    let mut sockets: Vec<_> = candidates
        .into_iter()
        .map(|dir| dir.join("magid.sock"))
        .filter(|path| path.exists())
        .collect();
    sockets.push(PathBuf::from(SYSTEM_SOCKET));
    sockets
}

fn non_empty_var(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Connects to the first of [`socket_candidates`] that answers.
///
/// # Errors
///
/// Names every socket that was tried and what it answered.
pub async fn connect(explicit: Option<&Path>) -> Result<DaemonChannel, ConnectError> {
    let mut attempts = Vec::new();
    for path in socket_candidates(explicit) {
        match connect_to(&path).await {
            Ok(channel) => return Ok(channel),
            Err(error) => attempts.push((path, error)),
        }
    }
    Err(ConnectError { attempts })
}

async fn connect_to(path: &Path) -> io::Result<DaemonChannel> {
    // The first connection is made here, so that its error is the system's own; tonic hides it.
    let mut first = Some(UnixStream::connect(path).await?);
    let path = path.to_path_buf();
    let connector = tower::service_fn(move |_: Uri| {
        let ready = first.take();
        let path = path.clone();
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => UnixStream::connect(path).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The name is only the `:authority` of the requests.
    Endpoint::from_static("http://magid")
        .connect_with_connector(connector)
        .await
        .map_err(io::Error::other)
}
