//! One thread that serves.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Client, connection};
use crate::activity::{Board, Questions, RequestId};
use crate::gateway::Gateway;
use crate::proxy::Pool;

/// What the connections of one thread share.
pub(crate) struct Worker {
    /// What all threads share.
    pub(crate) gateway: Arc<Gateway>,
    /// Connections to servers that no request uses.
    pub(crate) pool: Pool,
    /// The requests that are under way, for those who ask.
    pub(crate) board: Board,
    /// The gateway's own pages.
    pub(crate) own: Router,
    /// What ids of requests begin with: unlike those of other threads and processes.
    prefix: u32,
    requests: Cell<u32>,
}

impl Worker {
    fn new(gateway: Arc<Gateway>, own: Router) -> Self {
        // The standard library has no other source of randomness.
        let random = RandomState::new().hash_one(std::thread::current().id());
        Self {
            gateway,
            own,
            pool: Pool::default(),
            board: Board::default(),
            prefix: (random >> 32) as u32,
            requests: Cell::new(random as u32),
        }
    }

    /// An id for a request.
    pub(crate) fn request_id(&self) -> RequestId {
        let number = self.requests.get().wrapping_add(1);
        self.requests.set(number);
        RequestId(u64::from(self.prefix) << 32 | u64::from(number))
    }
}

/// Serves the connections that are handed over, until nobody hands over any and the last has ended.
pub(super) fn run(
    gateway: Arc<Gateway>,
    own: Router,
    mut clients: mpsc::Receiver<Client>,
    questions: Questions,
    ending: CancellationToken,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(name: "no_runtime", "cannot serve: {error}");
            return;
        }
    };
    let worker = Rc::new(Worker::new(gateway, own));
    let local = LocalSet::new();
    let serving = TaskTracker::new();
    local.block_on(&runtime, async {
        let sweeper = tokio::task::spawn_local({
            let worker = worker.clone();
            async move { worker.pool.sweep().await }
        });
        tokio::task::spawn_local(worker.board.clone().answer(questions));
        while let Some(client) = clients.recv().await {
            serving.spawn_local(connection::serve(worker.clone(), client, ending.clone()));
        }
        serving.close();
        serving.wait().await;
        sweeper.abort();
    });
}
