//! Where clients connect.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::connection::Stream;

/// Connections that wait in the kernel. Its own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A client that takes nothing of its answer for so long is gone. Until then it keeps a place at a
/// server.
const STALLED: Duration = Duration::from_secs(60);

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text is not an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {0:?}: write IP:PORT, for example 127.0.0.1:8000, or unix:PATH")]
pub struct AddressError(pub String);

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// Where.
    pub address: Address,
    /// The system's word.
    pub source: io::Error,
}

/// Takes connections.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    socket: ListeningSocket,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:")
            && !path.is_empty()
        {
            return Ok(Self::Unix(path.into()));
        }
        let host = text.replacen("localhost:", "127.0.0.1:", 1);
        let address = host.parse().map_err(|_| AddressError(text.to_owned()))?;
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    /// Listens. Needs the runtime.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            address: address.clone(),
            source,
        };
        let socket = match address {
            Address::Tcp(tcp) => bind_tcp(*tcp).map(ListeningSocket::Tcp),
            Address::Unix(path) => bind_unix(path).map(ListeningSocket::Unix),
        };
        let socket = socket.map_err(failed)?;
        // Port 0 is any that is free.
        let address = match &socket {
            ListeningSocket::Tcp(tcp) => Address::Tcp(tcp.local_addr().map_err(failed)?),
            ListeningSocket::Unix(_) => address.clone(),
        };
        Ok(Self { address, socket })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
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

    #[test]
    fn an_address_is_an_ip_and_a_port_or_a_path() {
        for (text, expected) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("localhost:80", "http://127.0.0.1:80"),
            ("[::1]:8000", "http://[::1]:8000"),
            ("unix:/run/magi/http.sock", "unix:/run/magi/http.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), expected);
        }
        for text in ["", "8000", "unix:", "host:port", "example.org:80"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_is_replaced_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("http.sock"));
        let first = Listener::bind(&address).unwrap();
        assert!(Listener::bind(&address).is_err());
        drop(first);
        assert!(Listener::bind(&address).is_ok());
    }
}
