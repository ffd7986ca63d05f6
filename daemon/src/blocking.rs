//! Work that may block, away from the tasks.
//!
//! A few threads are enough for it, and they are always the same: each thread that ever ran keeps some
//! memory, and tokio's pool grows to whatever came at one moment. But a thread that looks at a dead
//! network file system may never return, and must not keep the others from their work. So whoever has
//! waited long for his turn gets a thread of tokio's.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// How many threads there are.
const THREADS: usize = 4;

/// How long to wait for a turn. Longer than anything takes on a disk that works.
const PATIENCE: Duration = Duration::from_secs(1);

/// There is one set of threads in a process. Each has at most one job: turns are as many.
static TURNS: Semaphore = Semaphore::const_new(THREADS);
static JOBS: LazyLock<mpsc::Sender<Job>> = LazyLock::new(start);

type Job = Box<dyn FnOnce() + Send>;

fn start() -> mpsc::Sender<Job> {
    let (jobs, inbox) = mpsc::channel::<Job>();
    let inbox = Arc::new(Mutex::new(inbox));
    for _ in 0..THREADS {
        let inbox = inbox.clone();
        let started = thread::Builder::new()
            .name("magid-blocking".to_owned())
            .spawn(move || {
                loop {
                    let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    // Whoever waits for it is told by the sender that is dropped.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            });
        if let Err(error) = started {
            tracing::error!("cannot start a thread: {error}");
        }
    }
    jobs
}

/// Does `work` on a thread where it may block.
///
/// Cancel-safe in so far as work that has begun is finished, whoever waits for it.
///
/// # Errors
///
/// If it panicked, or the runtime shuts down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let Ok(turn) = timeout(PATIENCE, TURNS.acquire()).await else {
        #[expect(clippy::disallowed_methods, reason = "this is the one place for it")]
        let done = tokio::task::spawn_blocking(work).await;
        return done.map_err(io::Error::other);
    };
    let (reply, answer) = oneshot::channel();
    let job = move || {
        let done = work();
        drop(turn);
        // Who asked may have gone away.
        let _ = reply.send(done);
    };
    JOBS.send(Box::new(job))
        .map_err(|_| io::Error::other("there is no thread for it"))?;
    answer
        .await
        .map_err(|_| io::Error::other("it did not come to its end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_hangs_keeps_nobody_from_his() {
        let (release, hold) = mpsc::channel::<()>();
        let hold = Arc::new(Mutex::new(hold));
        for _ in 0..2 * THREADS {
            let hold = hold.clone();
            tokio::spawn(blocking(move || {
                let _ = hold.lock().unwrap().recv();
            }));
        }
        assert_eq!(blocking(|| 7).await.unwrap(), 7);
        drop(release);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_takes_no_thread_with_it() {
        for _ in 0..2 * THREADS {
            assert!(blocking(|| panic!("on purpose")).await.is_err());
        }
        assert_eq!(blocking(|| 7).await.unwrap(), 7);
    }
}
