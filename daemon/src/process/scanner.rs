//! Looks at all processes, each shared by everybody who asked before it began.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::procfs::{self, Stat};
use crate::blocking::blocking;

/// Requests that may wait. Each waits for its answer, so there are at most a few for each server; more
/// wait to be sent.
const REQUESTS: usize = 256;

/// The shortest time between two looks. It bounds what they cost when servers crash in a loop, and
/// nobody notices it: the first look after a pause is taken at once.
const PACE: Duration = Duration::from_millis(20);

type Picture = Arc<[Stat]>;

/// A handle on the task that looks at `/proc`.
#[derive(Clone, Debug)]
pub struct Scanner {
    requests: mpsc::Sender<oneshot::Sender<io::Result<Picture>>>,
}

impl Scanner {
    /// Starts the task. It ends with the last handle.
    pub fn spawn() -> Self {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        tokio::spawn(run(inbox));
        Self { requests }
    }

    /// All processes, as they were at some time after this was called.
    pub(super) async fn look(&self) -> io::Result<Picture> {
        let ended = |_| io::Error::other("the runtime is shutting down");
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(reply)
            .await
            .map_err(|_| io::Error::other("the runtime is shutting down"))?;
        answer.await.map_err(ended)?
    }
}

async fn run(mut inbox: mpsc::Receiver<oneshot::Sender<io::Result<Picture>>>) {
    while let Some(first) = inbox.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = inbox.try_recv() {
            waiting.push(next);
        }
        let began = Instant::now();
        let Ok(picture) = blocking(procfs::processes).await else {
            return;
        };
        answer(waiting, picture.map(Picture::from));
        sleep_until(began + PACE).await;
    }
}

fn answer(waiting: Vec<oneshot::Sender<io::Result<Picture>>>, picture: io::Result<Picture>) {
    for reply in waiting {
        let answer = match &picture {
            Ok(picture) => Ok(picture.clone()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Who asked may have gone away.
        let _ = reply.send(answer);
    }
}
