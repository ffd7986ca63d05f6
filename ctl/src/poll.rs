//! Waiting for the kernel to say something about a descriptor.

use std::future::pending;
use std::os::fd::AsFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// Ends when `fd` shows one of `events`, an error or a hang-up; never, if it cannot be waited for.
///
/// It costs a thread, which only `-f`, `--watch` and `daemon stop` need: tokio's own way to wait for
/// a foreign descriptor is an unsafe function.
pub(crate) async fn wait(fd: impl AsFd + Send + 'static, events: PollFlags) {
    let (sender, receiver) = oneshot::channel();
    let waiter = thread::Builder::new()
        .name("poll".to_owned())
        .spawn(move || {
            let result = loop {
                match poll(&mut [PollFd::new(&fd, events)], None) {
                    Err(Errno::INTR) => {}
                    result => break result,
                }
            };
            if result.is_ok() {
                // The command may be at its end already.
                let _ = sender.send(());
            }
        });
    if waiter.is_err() || receiver.await.is_err() {
        pending::<()>().await;
    }
}
