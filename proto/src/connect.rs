//! Finding and reaching the daemon's socket.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// A connection to magid.
pub type DaemonChannel = Channel;

/// The place of sockets under systemd.
const SYSTEM_FOLDER: &str = "/run/magi";
/// The socket of operators.
const SOCKET: &str = "magid.sock";
/// The socket of gateways.
const GATEWAY_SOCKET: &str = "gateway.sock";

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

/// The sockets a client tries, in order: the one it is told, else the one that `MAGI_SOCKET` names,
/// else the user's own one, and then the system's.
pub fn socket_candidates(explicit: Option<&Path>) -> Vec<PathBuf> {
    candidates(explicit, SOCKET, |name| env::var_os(name))
}

/// The sockets that a gateway tries, in order: as [`socket_candidates`], but where none is named those
/// for gateways.
pub fn gateway_socket_candidates(explicit: Option<&Path>) -> Vec<PathBuf> {
    candidates(explicit, GATEWAY_SOCKET, |name| env::var_os(name))
}

fn candidates(
    explicit: Option<&Path>,
    socket: &str,
    var: impl Fn(&str) -> Option<OsString>,
) -> Vec<PathBuf> {
    let dir = |name| {
        var(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let named = explicit
        .map(Path::to_path_buf)
        .or_else(|| dir("MAGI_SOCKET"));
    if let Some(socket) = named {
        return vec![socket];
    }
    // Where a user's magid puts it: the runtime directory, or without one the state directory.
    let runtime = dir("XDG_RUNTIME_DIR").map(|dir| dir.join("magi"));
    let state = dir("XDG_STATE_HOME")
        .or_else(|| dir("HOME").map(|home| home.join(".local/state")))
        .map(|dir| dir.join("magi/run"));
    let own = [runtime, state].into_iter().flatten();
    own.chain([PathBuf::from(SYSTEM_FOLDER)])
        .map(|dir| dir.join(socket))
        .collect()
}

/// Connects to the first of [`socket_candidates`] that answers. A socket without a daemon behind it
/// is passed over.
///
/// The channel belongs to the tokio runtime that this is called in, whose I/O and timers it needs.
///
/// # Errors
///
/// Names every socket that was tried and what it answered.
pub async fn connect(explicit: Option<&Path>) -> Result<DaemonChannel, ConnectError> {
    connect_to_any(socket_candidates(explicit)).await
}

/// Connects a gateway: to the first of [`gateway_socket_candidates`] that answers.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_gateway(explicit: Option<&Path>) -> Result<DaemonChannel, ConnectError> {
    connect_to_any(gateway_socket_candidates(explicit)).await
}

async fn connect_to_any(sockets: Vec<PathBuf>) -> Result<DaemonChannel, ConnectError> {
    let mut attempts = Vec::new();
    for path in sockets {
        match connect_to(&path).await {
            Ok(channel) => return Ok(channel),
            Err(error) => attempts.push((path, error)),
        }
    }
    Err(ConnectError { attempts })
}

/// A channel for a gateway, which connects when it is first used, and again when it has to, each time to
/// the first of [`gateway_socket_candidates`] that answers. Calls fail with `UNAVAILABLE` while none does.
///
/// The channel belongs to the tokio runtime that this is called in, whose I/O and timers it needs.
pub fn connect_lazily(explicit: Option<&Path>) -> DaemonChannel {
    let candidates = gateway_socket_candidates(explicit);
    let connector = tower::service_fn(move |_: Uri| {
        let candidates = candidates.clone();
        async move {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for path in candidates {
                match UnixStream::connect(path).await {
                    Ok(stream) => return Ok(TokioIo::new(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    });
    Endpoint::from_static("http://magid").connect_with_connector_lazy(connector)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates_with(explicit: Option<&str>, vars: &[(&str, &str)]) -> Vec<String> {
        let var = |name: &str| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        candidates(explicit.map(Path::new), SOCKET, var)
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn a_socket_that_is_named_is_the_only_one() {
        let vars = [
            ("MAGI_SOCKET", "/b.sock"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
        ];
        assert_eq!(candidates_with(Some("/a.sock"), &vars), ["/a.sock"]);
        assert_eq!(candidates_with(None, &vars), ["/b.sock"]);
    }

    #[test]
    fn the_users_own_socket_comes_before_the_systems() {
        let vars = [
            ("MAGI_SOCKET", ""),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("HOME", "/home/u"),
        ];
        let expected = [
            "/run/user/7/magi/magid.sock",
            "/home/u/.local/state/magi/run/magid.sock",
            "/run/magi/magid.sock",
        ];
        assert_eq!(candidates_with(None, &vars), expected);
    }

    #[test]
    fn a_state_directory_that_is_set_stands_in_for_home() {
        let vars = [("XDG_STATE_HOME", "/state"), ("HOME", "/home/u")];
        let expected = ["/state/magi/run/magid.sock", "/run/magi/magid.sock"];
        assert_eq!(candidates_with(None, &vars), expected);
    }

    #[test]
    fn a_service_without_a_home_asks_the_systems_daemon() {
        assert_eq!(candidates_with(None, &[]), ["/run/magi/magid.sock"]);
    }

    #[test]
    fn a_gateway_asks_at_its_own_sockets() {
        let none = candidates(None, GATEWAY_SOCKET, |_| None);
        assert_eq!(none, [Path::new("/run/magi/gateway.sock")]);
        let named = candidates(None, GATEWAY_SOCKET, |_| Some("/a.sock".into()));
        assert_eq!(named, [Path::new("/a.sock")]);
    }

    #[tokio::test]
    async fn an_unreachable_daemon_names_the_socket_and_the_systems_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("magid.sock");
        let error = connect(Some(&path)).await.unwrap_err();
        assert_eq!(error.attempts.len(), 1);
        assert_eq!(error.attempts[0].1.kind(), io::ErrorKind::NotFound);
        assert!(!error.is_permission_denied());
        assert!(error.to_string().contains(path.to_str().unwrap()));
    }

    #[tokio::test]
    async fn a_socket_that_its_daemon_left_behind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("magid.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = connect(Some(&path)).await.unwrap_err();
        assert_eq!(error.attempts[0].1.kind(), io::ErrorKind::ConnectionRefused);
    }
}
