//! Who is at the other end of the socket.

use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

/// Writes into the log who asks for a change.
pub(super) fn log<T>(request: &Request<T>, what: &str) {
    let connection = request.extensions().get::<UdsConnectInfo>();
    let peer = connection.and_then(|connection| connection.peer_cred);
    match peer {
        Some(peer) => tracing::info!(
            uid = peer.uid(),
            gid = peer.gid(),
            pid = peer.pid().unwrap_or(0),
            "{what} was asked for"
        ),
        None => tracing::info!("{what} was asked for by a peer that is not known"),
    }
}
