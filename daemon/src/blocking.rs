//! Work that may block, away from the tasks.
//!
//! A few threads are enough for it, and every further one costs memory for good: the allocator keeps
//! some for each. But a thread that looks at a dead network file system may never return, and must not
//! keep the others from theirs. So whoever has waited long for his turn goes ahead without one.

use std::io;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How much is done at a time, as long as nothing hangs.
const AT_A_TIME: usize = 8;

/// How long to wait for a turn. Longer than anything takes on a disk that works.
const PATIENCE: Duration = Duration::from_secs(1);

/// There is one set of threads in a process, so there is one set of turns.
static TURNS: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Does `work` on a thread of its own.
///
/// Cancel-safe in so far as work that has begun is finished, whoever waits for it.
///
/// # Errors
///
/// If it panicked, or the runtime shuts down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let turn = timeout(PATIENCE, TURNS.acquire()).await;
    // The turn comes back with the result: when it goes to the next, this thread is free for him.
    #[expect(clippy::disallowed_methods, reason = "this is the one place for it")]
    let done = tokio::task::spawn_blocking(move || (work(), turn)).await;
    done.map(|(done, _turn)| done).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_keeps_nobody_from_his() {
        let (release, hold) = mpsc::channel::<()>();
        let hold = std::sync::Arc::new(std::sync::Mutex::new(hold));
        for _ in 0..2 * AT_A_TIME {
            let hold = hold.clone();
            tokio::spawn(blocking(move || {
                let _ = hold.lock().unwrap().recv();
            }));
        }
        assert_eq!(blocking(|| 7).await.unwrap(), 7);
        drop(release);
    }
}
