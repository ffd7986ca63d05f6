//! Who is at the other end of the socket.

use tokio::net::unix::UCred;
use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

fn of<T>(request: &Request<T>) -> Option<UCred> {
    let connection = request.extensions().get::<UdsConnectInfo>();
    connection.and_then(|connection| connection.peer_cred)
}

/// Who it is, in a few words.
pub(super) fn describe<T>(request: &Request<T>) -> String {
    match of(request) {
        Some(peer) => format!("pid {} (uid {})", peer.pid().unwrap_or(0), peer.uid()),
        None => "a peer that is not known".to_owned(),
    }
}

/// Writes into the log who asks for a change.
pub(super) fn log<T>(request: &Request<T>, what: &str) {
    match of(request) {
        Some(peer) => tracing::info!(
            uid = peer.uid(),
            gid = peer.gid(),
            pid = peer.pid().unwrap_or(0),
            "{what} was asked for"
        ),
        None => tracing::info!("{what} was asked for by a peer that is not known"),
    }
}
