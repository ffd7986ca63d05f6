//! Collects the dead that nobody waits for.
//!
//! magid is a subreaper: when a process of an incarnation loses its parent, it becomes a child of
//! magid rather than of pid 1. That is how a tree can be found whole, and it makes us responsible for
//! the zombies.
//!
//! A zombie that a [`Process`](super::Process) stands for is left alone, since its status belongs to
//! whoever awaits that. Every other one is reaped by its own pid: waiting for just any child would
//! steal the status of an incarnation. It follows that each child of magid must be started by
//! [`spawn`](super::spawn()). Nothing is ever signalled here.
//!
//! Between the fork and the registration of a child there is a moment in which it looks like an
//! orphan. So the reaper reaps only while no spawn is under way, and looks again after each.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};
use signal_hook::consts::SIGCHLD;
use signal_hook_tokio::Signals;
use tokio::sync::Notify;
use tokio_stream::StreamExt as _;
use tracing::{debug, warn};

use super::identity::Identity;
use super::procfs;
use crate::blocking::blocking;

/// How long the dead are left to those who may be waiting for them. Otherwise each end of an
/// incarnation would look like an orphan for a moment, and cost a look at all of `/proc`.
const PATIENCE: Duration = Duration::from_millis(100);

/// The children of this operating system process, of which there is one set however many values stand
/// for it. That is why it is a static.
static CHILDREN: Children = Children {
    spawning: RwLock::new(()),
    registered: Mutex::new(BTreeMap::new()),
    look_again: Notify::const_new(),
};

struct Children {
    /// Read by each spawn, from before the fork until the child is registered.
    spawning: RwLock<()>,
    /// How many handles exist on each child, by pid and start time.
    registered: Mutex<BTreeMap<(u32, u64), usize>>,
    /// A spawn ended, or a handle was dropped.
    look_again: Notify,
}

impl Children {
    fn registered(&self) -> MutexGuard<'_, BTreeMap<(u32, u64), usize>> {
        self.registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the reaper from a process for as long as this lives.
#[derive(Debug)]
pub(super) struct Registration((u32, u64));

impl Registration {
    pub(super) fn new(identity: &Identity) -> Self {
        let key = (identity.pid, identity.start_time);
        *CHILDREN.registered().entry(key).or_default() += 1;
        Self(key)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registered = CHILDREN.registered();
        if let Some(handles) = registered.get_mut(&self.0) {
            *handles -= 1;
            if *handles == 0 {
                registered.remove(&self.0);
            }
        }
        drop(registered);
        CHILDREN.look_again.notify_one();
    }
}

/// Runs `spawn` with the reaper held off.
pub(super) fn while_spawning<T>(spawn: impl FnOnce() -> T) -> T {
    let spawning = CHILDREN
        .spawning
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    let result = spawn();
    drop(spawning);
    CHILDREN.look_again.notify_one();
    result
}

/// Whether a handle on this process exists, so that it is the main process of an incarnation.
pub(super) fn is_registered(pid: u32, start_time: u64) -> bool {
    CHILDREN.registered().contains_key(&(pid, start_time))
}

/// Makes this process the one that orphaned descendants reparent to. Call it before the first spawn.
///
/// # Errors
///
/// If the kernel is older than Linux 3.4.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Owns the duty to reap. Takes in SIGCHLD, emits nothing, and runs until it is dropped.
///
/// # Errors
///
/// If the signal handler cannot be installed.
pub async fn run() -> io::Result<()> {
    let mut signals = Signals::new([SIGCHLD])?;
    loop {
        tokio::time::sleep(PATIENCE).await;
        match blocking(reap_orphans).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "cannot look for orphans"),
            Err(_) => return Ok(()),
        }
        // Both arms are cancel-safe: a signal stays in the stream, a notification in the Notify.
        tokio::select! {
            signal = signals.next() => if signal.is_none() { return Ok(()) },
            () = CHILDREN.look_again.notified() => {}
        }
    }
}

/// Reaps every zombie that is there now and that no handle stands for. Whatever cannot be reaped yet
/// is followed by another call.
fn reap_orphans() -> io::Result<()> {
    if !any_zombie() {
        return Ok(());
    }
    let us = std::process::id();
    for stat in procfs::processes()? {
        if stat.ppid == us && stat.state == 'Z' {
            reap_unless_registered(stat.pid, stat.start_time);
        }
    }
    Ok(())
}

/// Whether a child waits to be reaped: what most signals leave behind is already taken by its handle,
/// and then there is no need to read all of `/proc`.
fn any_zombie() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Ok(Some(_)))
}

fn reap_unless_registered(pid: u32, start_time: u64) {
    let Ok(_no_spawn) = CHILDREN.spawning.try_write() else {
        return; // The end of that spawn makes us look again.
    };
    if is_registered(pid, start_time) {
        return;
    }
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    match waitid(
        WaitId::Pid(raw),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    ) {
        Ok(Some(_)) => debug!(pid, "reaped an orphan"),
        Ok(None) | Err(Errno::CHILD) => {}
        Err(error) => warn!(pid, %error, "cannot reap an orphan"),
    }
}
