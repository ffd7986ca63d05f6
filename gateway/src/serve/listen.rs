//! Where clients connect.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use magid::config::Listen;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::connection::Stream;

/// Connections that wait in the kernel. Its own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A client that takes nothing of its answer for so long is gone. Until then it keeps a place at a
/// server.
const STALLED: Duration = Duration::from_secs(60);

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    /// Where.
    pub address: Listen,
    /// The system's word.
    pub reason: io::Error,
}

/// Takes connections.
#[derive(Debug)]
pub struct Listener {
    address: Listen,
    socket: ListeningSocket,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens. Needs the runtime.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn bind(address: &Listen) -> Result<Self, ListenError> {
        let failed = |reason| ListenError {
            address: address.clone(),
            reason,
        };
        let socket = match address {
            Listen::Tcp(tcp) => bind_tcp(*tcp).map(ListeningSocket::Tcp),
            Listen::Unix(path) => bind_unix(path).map(ListeningSocket::Unix),
        };
        let socket = socket.map_err(failed)?;
        // Port 0 is any that is free.
        let address = match &socket {
            ListeningSocket::Tcp(tcp) => Listen::Tcp(tcp.local_addr().map_err(failed)?),
            ListeningSocket::Unix(_) => address.clone(),
        };
        Ok(Self { address, socket })
    }

    /// Where it listens, as clients write it.
    pub fn url(&self) -> String {
        match &self.address {
            Listen::Tcp(address) => format!("http://{address}"),
            Listen::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The next connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            ListeningSocket::Tcp(tcp) => {
                let (stream, peer) = tcp.accept().await?;
                stream.set_nodelay(true)?;
                let stream = stream.into_std()?;
                SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED))?;
                Ok(Stream::Tcp(stream, peer.ip().to_canonical()))
            }
            ListeningSocket::Unix(unix) => {
                let (stream, _) = unix.accept().await?;
                Ok(Stream::Unix(stream.into_std()?))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of an earlier gateway that are about to end do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    // A socket that nobody answers on was left behind by an earlier gateway.
    let left_behind = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if left_behind {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_is_replaced_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let address = Listen::Unix(dir.path().join("http.sock"));
        let first = Listener::bind(&address).unwrap();
        assert!(Listener::bind(&address).is_err());
        drop(first);
        assert!(Listener::bind(&address).is_ok());
    }
}
