//! Waiting for a descriptor to become readable.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime, to be told when it is readable.
///
/// # Errors
///
/// If the kernel refuses to watch it.
#[expect(
    deprecated,
    reason = "it is deprecated because a generic `AsRawFd` may change its descriptor meanwhile. An `OwnedFd` \
              keeps it until it is dropped, so this is sound, and the successor is an unsafe function, of which \
              this workspace has none"
)]
pub(crate) fn when_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
