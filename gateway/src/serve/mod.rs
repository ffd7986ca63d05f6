//! Connections of clients.
//!
//! One task accepts them all and gives each to the thread that has the fewest, once the threads before it
//! have a few: streams last for minutes, so that chance would leave one thread with most of the work. From
//! then on a connection never leaves its thread, and neither do the requests on it nor the connections to
//! servers that they use.
//!
//! There are never more connections than there are descriptors for, two each. Who comes then waits in
//! the kernel's queue until another one ends.

mod connection;
mod limits;
mod listen;
mod out;
mod sending;
mod wire;
mod worker;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use limits::raise_descriptors;
pub use listen::{ListenError, Listener};
pub(crate) use wire::{BrokenBody, Incoming};
pub(crate) use worker::Worker;

use crate::activity::Questions;
use crate::gateway::Gateway;
use crate::queue::{Place, Queue};
use connection::Stream;

/// So few connections are no work for two threads, which would wait for cores that the servers use, and let
/// their clients wait.
const FEW: usize = 16;

/// More threads than this do not serve more: llama-server has the work.
const MAX_THREADS: usize = 8;

/// Connections that wait for their thread to look. It is always about to.
const HANDED: usize = 256;

/// After the system could not accept: mostly it lacks descriptors, and others give some back.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection that a thread has been given.
struct Client {
    stream: Stream,
    /// One of the connections that there may be.
    place: Place,
    /// Counted at the thread.
    count: Count,
}

/// One of the connections of a thread.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the acceptor leaves connections.
#[derive(Clone)]
struct Desk {
    clients: mpsc::Sender<Client>,
    connections: Arc<AtomicUsize>,
}

impl Desk {
    /// Of the thread that gets the next connection.
    fn of_next(desks: &[Self]) -> Option<&Self> {
        let connections = |desk: &&Self| desk.connections.load(Ordering::Relaxed);
        let idle = desks.iter().find(|desk| connections(desk) < FEW);
        idle.or_else(|| desks.iter().min_by_key(connections))
    }
}

/// The threads that serve.
#[derive(Debug)]
pub struct Threads {
    /// Closed when the last of them has ended.
    ended: mpsc::Receiver<Infallible>,
}

impl Threads {
    /// Waits until the last connection has ended.
    pub async fn ended(mut self) {
        let _ = self.ended.recv().await;
    }
}

/// How many threads serve on this machine.
pub fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(MAX_THREADS)
}

/// Starts a thread for each of `questions`, and the task that gives them work until `ending` is cancelled. After that they
/// end when their last requests have. `places` are those of
/// connections, `own` answers what is not for a server.
///
/// # Errors
///
/// The system has no threads to give.
pub fn start(
    gateway: &Arc<Gateway>,
    own: &Router,
    questions: Vec<Questions>,
    listeners: Vec<Listener>,
    places: &Arc<Queue>,
    ending: &CancellationToken,
) -> io::Result<Threads> {
    let mut desks = Vec::new();
    let (running, ended) = mpsc::channel(1);
    for (n, questions) in questions.into_iter().enumerate() {
        let (sender, receiver) = mpsc::channel(HANDED);
        desks.push(Desk {
            clients: sender,
            connections: Arc::default(),
        });
        let (gateway, own, ending) = (gateway.clone(), own.clone(), ending.clone());
        let thread = std::thread::Builder::new().name(format!("serve-{n}"));
        let running = running.clone();
        thread.spawn(move || {
            worker::run(gateway, own, receiver, questions, ending);
            drop(running);
        })?;
    }
    let (places, ending) = (places.clone(), ending.clone());
    tokio::spawn(async move {
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            acceptors.spawn(accept(listener, desks.clone(), places.clone()));
        }
        drop(desks);
        ending.cancelled().await;
        acceptors.shutdown().await;
    });
    Ok(Threads { ended })
}

async fn accept(listener: Listener, desks: Vec<Desk>, places: Arc<Queue>) {
    loop {
        let place = places.enter().await;
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(name: "cannot_accept", "cannot accept a connection: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(desk) = Desk::of_next(&desks) else {
            return;
        };
        desk.connections.fetch_add(1, Ordering::Relaxed);
        let client = Client {
            stream,
            place,
            count: Count(desk.connections.clone()),
        };
        if desk.clients.send(client).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_work_when_those_before_it_have_enough() {
        let next = |connections: [usize; 3]| {
            let (clients, _receiver) = mpsc::channel(1);
            let desks = connections.map(|count| Desk {
                clients: clients.clone(),
                connections: Arc::new(AtomicUsize::new(count)),
            });
            let chosen = Desk::of_next(&desks).unwrap();
            desks
                .iter()
                .position(|desk| std::ptr::eq(desk, chosen))
                .unwrap()
        };
        assert_eq!(next([0, 0, 0]), 0);
        assert_eq!(next([15, 0, 0]), 0);
        assert_eq!(next([16, 3, 0]), 1);
        assert_eq!(next([15, 40, 0]), 0);
        assert_eq!(next([18, 17, 16]), 2);
        assert_eq!(next([16, 17, 16]), 0);
    }
}
