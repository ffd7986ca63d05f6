//! Everything that an incarnation started.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::handle;
use super::identity::{Identity, Token};
use super::procfs::{self, Stat};
use super::readable::when_readable;
use super::reaper;
use super::scanner::Scanner;
use super::spawn::TOKEN_VARIABLE;
use crate::blocking::blocking;

/// How long a killed process may take to die before it is spoken of.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest time between two looks at a tree that does not die.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// The processes of one incarnation: its main process and all that it started, however they have
/// reparented since.
///
/// A tree is a name, not a list. Its members are found anew each time:
///
/// * the main process, and the process group that it leads;
/// * their descendants, by parent;
/// * what has left both, by `setsid` and a dead parent: it is a child of ours, since we are its
///   subreaper, and its environment has the token.
///
/// Not a member is a process that left the group, lost its parent and cleaned its environment. It
/// cannot be told from a stranger, and is not signalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// What its members carry in their environment.
    pub token: Token,
    /// The main process.
    pub main: Identity,
}

/// Where to look for members that have left the group and lost their parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Among our children: we have been their subreaper from the start.
    Owned,
    /// Everywhere: an earlier magid started them, and they reparented elsewhere when it died.
    Recovery,
}

/// A live process of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its pid.
    pub pid: u32,
    /// Clock ticks after boot.
    pub start_time: u64,
    /// The name of its program, at most 15 bytes.
    pub comm: String,
    /// The kernel's letter for what it does: `R`, `S`, `D`, `T`, ….
    pub state: char,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pid {} ({}) in state {}",
            self.pid, self.comm, self.state
        )?;
        match self.state {
            'D' => f.write_str(", waiting for a device or a file system"),
            'T' | 't' => f.write_str(", stopped"),
            _ => Ok(()),
        }
    }
}

/// Why a tree is not gone yet, as a sentence for the reason of `stopping`.
#[derive(Debug)]
pub enum Obstacle {
    /// These were killed and have not died.
    Alive(Vec<Member>),
    /// This one we may not signal.
    Refused(Member, io::Error),
    /// The processes cannot be listed or held.
    Unseen(io::Error),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive(members) => {
                f.write_str("killed, but not gone: ")?;
                for (index, member) in members.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{member}")?;
                }
                Ok(())
            }
            Self::Refused(member, error) => write!(f, "cannot kill {member}: {error}"),
            Self::Unseen(error) => write!(f, "cannot see its processes: {error}"),
        }
    }
}

impl Tree {
    /// Its live members, by one look at `/proc`. This blocks for as long as that takes: about a
    /// millisecond for every hundred processes.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn members(&self, scope: Scope) -> io::Result<Vec<Member>> {
        self.members_among(&procfs::processes()?, scope)
    }

    fn members_among(&self, all: &[Stat], scope: Scope) -> io::Result<Vec<Member>> {
        if self.main.boot_id != super::boot_id()? {
            return Ok(Vec::new());
        }
        Ok(self.select(all, scope, std::process::id(), &mark))
    }

    /// Kills every member and what they start meanwhile, and returns when none is left. What does not
    /// die keeps this waiting for ever: `obstacle` is told of it after a second, and whenever that
    /// changes.
    ///
    /// Cancel-safe: called again, it goes on with whoever is left.
    pub async fn kill(&self, scanner: &Scanner, scope: Scope, obstacle: impl FnMut(Obstacle)) {
        self.until_gone(scanner, scope, Some(Signal::KILL), obstacle)
            .await;
    }

    /// Returns when no member is left, and signals none. Cancel-safe.
    pub async fn gone(&self, scanner: &Scanner, scope: Scope) {
        self.until_gone(scanner, scope, None, |_| ()).await;
    }

    async fn until_gone(
        &self,
        scanner: &Scanner,
        scope: Scope,
        signal: Option<Signal>,
        mut obstacle: impl FnMut(Obstacle),
    ) {
        let mut patience = PATIENCE;
        let mut told = String::new();
        loop {
            let looked_at = Instant::now();
            let found = match self.hold_members(scanner, scope, signal).await {
                Ok(held) if held.is_empty() => return,
                Ok(held) => wait_for_all(held, looked_at + patience).await,
                Err(error) => Some(Obstacle::Unseen(error)),
            };
            // All that we saw are gone: look at once for what they started.
            let Some(found) = found else { continue };
            let text = found.to_string();
            if text != told {
                told = text;
                obstacle(found);
            }
            tokio::time::sleep_until(looked_at + patience).await;
            patience = (patience * 2).min(LONGEST_PATIENCE);
        }
    }

    /// Lists the members, takes hold of each and signals it. On a thread where blocking is allowed:
    /// reading about a process that hangs in the kernel can hang too.
    async fn hold_members(
        &self,
        scanner: &Scanner,
        scope: Scope,
        signal: Option<Signal>,
    ) -> io::Result<Vec<Held>> {
        let all = scanner.look().await?;
        if !self.may_have_members(&all, scope) {
            return Ok(Vec::new());
        }
        let tree = self.clone();
        let look = move || {
            let mut held = Vec::new();
            for member in tree.members_among(&all, scope)? {
                held.extend(Held::new(member, signal)?);
            }
            Ok(held)
        };
        blocking(look).await?
    }

    /// Whether it is worth asking who they are, which takes reading environments. Mostly an incarnation
    /// ends with nothing left of it, and that can be seen without.
    fn may_have_members(&self, all: &[Stat], scope: Scope) -> bool {
        let us = std::process::id();
        let is_suspect = |stat: &Stat| {
            let is_unknown_child =
                stat.ppid == us && !reaper::is_registered(stat.pid, stat.start_time);
            stat.pid == self.main.pid || stat.pgrp == self.main.pid || is_unknown_child
        };
        match scope {
            Scope::Owned => all.iter().any(is_suspect),
            Scope::Recovery => true,
        }
    }

    /// The rule of membership, over one picture of all processes.
    fn select(
        &self,
        all: &[Stat],
        scope: Scope,
        us: u32,
        mark: &dyn Fn(&Stat, &Token) -> Mark,
    ) -> Vec<Member> {
        let holder_of_pid = all.iter().find(|stat| stat.pid == self.main.pid);
        let is_main =
            |stat: &Stat| stat.pid == self.main.pid && stat.start_time == self.main.start_time;
        let of_group = |stat: &Stat| match holder_of_pid {
            // While the leader lives, nobody else can have the number of its group. If another
            // process has the number, the group was empty before.
            Some(holder) => is_main(holder),
            // Whoever is left of the group was there before its number could be used again, or has
            // come after: the token tells, and for our own children that they are our children.
            None => match mark(stat, &self.token) {
                Mark::Ours => true,
                Mark::Other => false,
                Mark::None => {
                    scope == Scope::Owned
                        && stat.ppid == us
                        && stat.start_time >= self.main.start_time
                }
            },
        };
        let is_stray = |stat: &Stat| match scope {
            Scope::Owned => {
                stat.ppid == us
                    && !reaper::is_registered(stat.pid, stat.start_time)
                    && mark(stat, &self.token) == Mark::Ours
            }
            Scope::Recovery => mark(stat, &self.token) == Mark::Ours,
        };
        let candidates = || all.iter().filter(|stat| stat.pid != us && stat.pid != 1);
        let mut pids: BTreeSet<u32> = candidates()
            .filter(|stat| {
                is_main(stat) || (stat.pgrp == self.main.pid && of_group(stat)) || is_stray(stat)
            })
            .map(|stat| stat.pid)
            .collect();
        loop {
            let before = pids.len();
            let children: Vec<u32> = candidates()
                .filter(|stat| pids.contains(&stat.ppid))
                .map(|stat| stat.pid)
                .collect();
            pids.extend(children);
            if pids.len() == before {
                break;
            }
        }
        candidates()
            .filter(|stat| stat.is_live() && pids.contains(&stat.pid))
            .map(Member::of)
            .collect()
    }
}

/// Whose token a process carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Ours,
    Other,
    /// It has none, or it may not be read.
    None,
}

fn mark(stat: &Stat, token: &Token) -> Mark {
    let Ok(environment) = procfs::environment(stat.pid) else {
        return Mark::None;
    };
    match procfs::variable(&environment, TOKEN_VARIABLE) {
        Some(value) if value == token.as_str().as_bytes() => Mark::Ours,
        Some(_) => Mark::Other,
        None => Mark::None,
    }
}

impl Member {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            pid: stat.pid,
            start_time: stat.start_time,
            comm: stat.comm.to_string(),
            state: stat.state,
        }
    }
}

/// A member, held so that its end can be awaited.
struct Held {
    member: Member,
    pidfd: OwnedFd,
    refused: Option<Errno>,
}

impl Held {
    /// `None` if it has ended meanwhile.
    fn new(member: Member, signal: Option<Signal>) -> io::Result<Option<Self>> {
        let Some(pidfd) = handle::open_started_at(member.pid, member.start_time)? else {
            return Ok(None);
        };
        let refused = match signal.map(|signal| pidfd_send_signal(&pidfd, signal)) {
            None | Some(Ok(()) | Err(Errno::SRCH)) => None,
            Some(Err(error)) => Some(error),
        };
        Ok(Some(Self {
            member,
            pidfd,
            refused,
        }))
    }
}

/// Waits until all have ended, at most until `deadline`; tells what is in the way then.
async fn wait_for_all(held: Vec<Held>, deadline: Instant) -> Option<Obstacle> {
    let mut left = Vec::new();
    let mut refused = None;
    for Held {
        member,
        pidfd,
        refused: error,
    } in held
    {
        if let Some(error) = error {
            refused = Some(Obstacle::Refused(member, error.into()));
            continue;
        }
        let pidfd = match when_readable(pidfd) {
            Ok(pidfd) => pidfd,
            Err(error) => return Some(Obstacle::Unseen(error)),
        };
        if timeout_at(deadline, pidfd.readable()).await.is_err() {
            left.push(state_now(member));
        }
    }
    refused.or_else(|| (!left.is_empty()).then_some(Obstacle::Alive(left)))
}

/// The member with its state as it is now rather than before it was killed.
fn state_now(member: Member) -> Member {
    match Stat::read(member.pid) {
        Ok(Some(stat)) if stat.start_time == member.start_time => Member::of(&stat),
        Ok(_) | Err(_) => member,
    }
}
