//! What the threads of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use magi_proto::v1;
use tokio::sync::{Notify, SetOnce, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::bodies::Bodies;
use crate::configuration::{Current, Settings};
use crate::metrics::Metrics;
use crate::refusal::Refusal;

use crate::table::{Incarnation, Table};

/// Requests that may wait for [`crate::attach`] to hear of them. Those that come for a server that
/// loads wait in its queue, so this is full only if attach is stuck.
const WANTED: usize = 1024;

/// Finished requests that are kept until magid is told, a few times a second. Reading them costs magid
/// more than forwarding them costs us, so of a flood only some are told.
const FINISHED: usize = 256;

/// So long after its start a gateway may not know yet what there is. Both are often started together, and
/// magid still looks for models then.
const FIRST_ATTACH: Duration = Duration::from_secs(5);

/// What the threads of a gateway share.
#[derive(Debug)]
pub struct Gateway {
    /// The newest table. Written by attach only.
    pub table: Arc<ArcSwap<Table>>,
    /// Set when magid has told of a server for the first time.
    pub(crate) told: SetOnce<()>,
    begun: Instant,
    /// Something has begun or ended at a server, and none had before since attach last looked; or a request
    /// ended that went to none.
    pub activity: Notify,
    /// gateway.toml.
    pub settings: Current,
    /// The bodies of requests that are held.
    pub(crate) bodies: Arc<Bodies>,
    /// What is counted beside the requests of servers.
    pub metrics: Arc<Metrics>,
    /// Servers to have ready.
    wanted: mpsc::Sender<Wanted>,
    finished: mpsc::Sender<v1::FinishedRequest>,
    /// Finished requests that there was no room for.
    missed: AtomicU64,
}

/// A server to have ready, on behalf of a request.
#[derive(Debug)]
pub struct Wanted {
    /// Its name.
    pub server: String,
    /// Where to say that it is.
    pub answer: oneshot::Sender<Result<Arc<Incarnation>, Refusal>>,
}

/// The ends that attach reads.
#[derive(Debug)]
pub struct Inbox {
    /// Servers to have ready.
    pub wanted: mpsc::Receiver<Wanted>,
    /// Requests that ended.
    pub finished: mpsc::Receiver<v1::FinishedRequest>,
}

impl Gateway {
    /// A gateway that knows of no servers yet.
    pub fn new(settings: Settings) -> (Arc<Self>, Inbox) {
        let (wanted, wanted_inbox) = mpsc::channel(WANTED);
        let (finished, finished_inbox) = mpsc::channel(FINISHED);
        let gateway = Self {
            table: Arc::new(ArcSwap::from_pointee(Table::empty())),
            told: SetOnce::new(),
            begun: Instant::now(),
            activity: Notify::new(),
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            bodies: Arc::default(),
            metrics: Arc::default(),
            wanted,
            finished,
            missed: AtomicU64::new(0),
        };
        let inbox = Inbox {
            wanted: wanted_inbox,
            finished: finished_inbox,
        };
        (Arc::new(gateway), inbox)
    }

    /// Waits until magid has told of a server once; not for long, and only soon after the start.
    pub(crate) async fn told(&self) {
        if !self.told.initialized() {
            let _ = timeout_at(self.begun + FIRST_ATTACH, self.told.wait()).await;
        }
    }

    /// Has a server made ready, and waits for it.
    ///
    /// # Errors
    ///
    /// Why it cannot be, as magid tells; or nobody is there to ask.
    pub async fn ensure_ready(&self, server: &str) -> Result<Arc<Incarnation>, Refusal> {
        let (answer, ready) = oneshot::channel();
        let wanted = Wanted {
            server: server.to_owned(),
            answer,
        };
        if self.wanted.try_send(wanted).is_err() {
            return Err(Refusal::magid_away());
        }
        ready.await.unwrap_or_else(|_| Err(Refusal::magid_away()))
    }

    /// Tells of a request that ended. It is made only if there is room for it.
    pub fn finished(&self, request: impl FnOnce() -> v1::FinishedRequest) {
        match self.finished.try_reserve() {
            Ok(room) => room.send(request()),
            Err(_) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many requests ended that there was no room for, since this was last asked.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}
