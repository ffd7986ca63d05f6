//! Who may connect, and how many at a time.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, UdsConnectInfo};

/// The most connections, where descriptors allow it.
const MOST: usize = 4096;

/// How long whoever has connected may take to say something.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// How long to wait when the system has no descriptor left.
const NO_DESCRIPTOR: Duration = Duration::from_secs(1);

/// Connections that wait to be served. They are taken at once, so more mean a flood, which waits.
const ACCEPTED: usize = 16;

/// Accepts connections, until nobody takes them any more. A connection too many is closed at once, and
/// so is one that says nothing.
pub(super) fn accept(listener: UnixListener) -> ReceiverStream<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(ACCEPTED);
    tokio::spawn(run(listener, Door::new(limit()), accepted));
    ReceiverStream::new(connections)
}

/// Half of the descriptors are for clients; servers need the others.
fn limit() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(soft / 2).unwrap_or(MOST).clamp(1, MOST)
}

async fn run(listener: UnixListener, door: Door, accepted: mpsc::Sender<io::Result<Connection>>) {
    let mut refuses = false;
    loop {
        // Both arms are cancel-safe: accept loses no connection, and closed only waits.
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = accepted.closed() => return,
        };
        let entered = match stream {
            Ok((stream, _)) => door.enter(stream),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(NO_DESCRIPTOR).await;
                continue;
            }
        };
        match entered {
            Ok(connection) => {
                refuses = false;
                tokio::spawn(admit(connection, accepted.clone()));
            }
            Err(refusal) if !refuses => {
                refuses = true;
                tracing::warn!("cannot serve more clients: {refusal}; further ones are not logged");
            }
            Err(_) => {}
        }
    }
}

/// Serves a connection once something came over it.
async fn admit(connection: Connection, accepted: mpsc::Sender<io::Result<Connection>>) {
    if let Ok(Ok(())) = timeout(FIRST_WORD, connection.stream.readable()).await {
        let _ = accepted.send(Ok(connection)).await;
    }
}

/// Counts who is in.
#[derive(Clone, Debug)]
struct Door {
    limit: usize,
    /// Open connections by the process that made them. The lock is held for a look at the map.
    open: Arc<Mutex<BTreeMap<i32, usize>>>,
}

/// Why a connection is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("there are {0} connections")]
    TooMany(usize),
    #[error("process {pid} has {count} connections")]
    TooManyOfOne { pid: i32, count: usize },
}

impl Door {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Arc::default(),
        }
    }

    fn enter(&self, stream: UnixStream) -> Result<Connection, Refusal> {
        let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let place = self.place(peer.unwrap_or(0))?;
        Ok(Connection {
            stream,
            _place: place,
        })
    }

    /// A place for one more connection of a process. One process alone can never take all.
    fn place(&self, pid: i32) -> Result<Place, Refusal> {
        let mut open = self.open();
        let total = open.values().sum::<usize>();
        let count = open.get(&pid).copied().unwrap_or(0);
        if total >= self.limit {
            return Err(Refusal::TooMany(total));
        }
        if count > self.limit / 2 {
            return Err(Refusal::TooManyOfOne { pid, count });
        }
        open.insert(pid, count + 1);
        Ok(Place {
            pid,
            door: self.clone(),
        })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<i32, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
struct Place {
    pid: i32,
    door: Door,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.door.open();
        if let Some(count) = open.get_mut(&self.pid) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.pid);
            }
        }
    }
}

/// A connection that is served.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    _place: Place,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_limit_and_places_are_given_back() {
        let door = Door::new(4);
        let mut places: Vec<_> = (0..4).map(|pid| door.place(pid).unwrap()).collect();
        assert_eq!(door.place(9).unwrap_err(), Refusal::TooMany(4));
        places.pop();
        assert!(door.place(9).is_ok());
        places.clear();
        assert!(door.open().is_empty());
    }

    #[test]
    fn one_process_cannot_keep_the_others_out() {
        let door = Door::new(10);
        let places: Vec<_> = (0..6).map(|_| door.place(7).unwrap()).collect();
        assert_eq!(
            door.place(7).unwrap_err(),
            Refusal::TooManyOfOne { pid: 7, count: 6 }
        );
        assert!(door.place(8).is_ok());
        drop(places);
    }
}
