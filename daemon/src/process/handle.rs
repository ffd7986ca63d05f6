//! The handle on a process.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
pub use rustix::process::Signal;
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;

use super::identity::Identity;
use super::procfs::Stat;
use super::readable::when_readable;
use super::reaper::Registration;
use crate::lifecycle::ExitStatus;

/// How often to ask for the status of a child that has ended and that a tracer keeps from us.
const TRACED: Duration = Duration::from_millis(100);

/// A process, held by a pidfd: whatever becomes of its pid, this never means another one.
///
/// A child of ours and a process that we adopted are handled by the same code. The one difference is
/// that only a child's exit status is known. Clones hold the same process. Dropping the last one
/// neither ends nor orphans the process.
#[derive(Clone, Debug)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    /// Remembered, since the kernel tells it once. The lock is held over one system call that does
    /// not block.
    status: Mutex<Option<ExitStatus>>,
    /// Keeps the reaper's hands off a child while a handle on it exists.
    _registration: Option<Registration>,
}

impl Process {
    /// Takes hold of a process that was not started by this magid, or by an earlier image of it.
    /// `None` if it is gone, or if its pid now names another process.
    ///
    /// # Errors
    ///
    /// If the kernel has no descriptors left or `/proc` cannot be read.
    pub fn adopt(identity: &Identity) -> io::Result<Option<Self>> {
        // Registered before it is looked at: it may be a child that ended while nobody watched.
        let registration = Registration::new(identity);
        match open(identity)? {
            Some(pidfd) => Self::new(identity.clone(), pidfd, Some(registration)).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn new(
        identity: Identity,
        pidfd: OwnedFd,
        registration: Option<Registration>,
    ) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            identity,
            pidfd: when_readable(pidfd)?,
            status: Mutex::new(None),
            _registration: registration,
        })))
    }

    /// What names it beyond its life.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Its pid. Others may have it once [`Process::exited`] has returned.
    pub fn pid(&self) -> u32 {
        self.0.identity.pid
    }

    /// Waits until every thread of it has ended, and says how it ended: [`ExitStatus::Unknown`] if it
    /// is not a child of ours. It can be awaited by many, and again.
    ///
    /// Cancel-safe: the status is kept in the handle.
    pub async fn exited(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.collect() {
                return status;
            }
            // An error means that the runtime shuts down: nobody needs the answer any more.
            let Ok(_still_set) = self.0.pidfd.readable().await else {
                return ExitStatus::Unknown;
            };
            if let Some(status) = self.collect() {
                return status;
            }
            // A debugger sees the end of its tracee first. The pidfd stays readable meanwhile, so it
            // cannot tell when it is our turn.
            tokio::time::sleep(TRACED).await;
        }
    }

    /// Sends a signal. To a process that has ended this does nothing.
    ///
    /// # Errors
    ///
    /// If we may not signal it.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.0.pidfd.get_ref(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The status, if it has ended.
    fn collect(&self) -> Option<ExitStatus> {
        let mut known = self.status();
        if known.is_none() {
            *known = status_of(self.0.pidfd.get_ref());
        }
        *known
    }

    fn status(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a pidfd and makes sure that it holds the process of that identity. `None` if that is gone.
pub(super) fn open(identity: &Identity) -> io::Result<Option<OwnedFd>> {
    if identity.boot_id != super::boot_id()? {
        return Ok(None);
    }
    open_started_at(identity.pid, identity.start_time)
}

/// As [`open`], for a process of this boot.
pub(super) fn open_started_at(pid: u32, start_time: u64) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // EINVAL: the number now names a thread of some other process.
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Only now: the identity is older than the pidfd, so what has this start time now had the pid
    // when we opened it.
    let stat = Stat::read(pid)?;
    Ok(stat
        .filter(|stat| stat.start_time == start_time)
        .map(|_| pidfd))
}

/// How the process ended, if it did. It reaps a child.
fn status_of(pidfd: &OwnedFd) -> Option<ExitStatus> {
    use std::os::fd::AsFd as _;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        }),
        Ok(None) => None,
        // Not our child: the pidfd tells that it ended, and nobody tells how.
        Err(_) => has_ended(pidfd).then_some(ExitStatus::Unknown),
    }
}

/// Whether a pidfd is readable, which it is from the end of its last thread on.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0
            })
        ),
        Ok(1..)
    )
}
