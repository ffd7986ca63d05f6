//! What servers that have memory look like to whoever wants some of it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::eviction::{Holder, Holders, Standing};
use crate::lifecycle::PublicState;
use crate::memory::{Account, Ledger};
use crate::supervisor::board::{Fleet, Row};
use crate::supervisor::gateways::{Use, Uses};
use crate::supervisor::server::account;

/// How long a server that just got ready is left to answer what it was started for. Whoever waits for it
/// through a gateway is known to wait; this is for all others.
const FRESH: Duration = Duration::from_secs(2);

/// A server that was told to make room.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// It has not answered yet.
    Open,
    /// It was in use then. It is left alone until that has changed, or until this moment.
    InUse(Use, Instant),
}

/// What is known of servers beyond what they publish.
pub(super) struct View<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) uses: &'a Uses,
    /// By account and incarnation.
    pub(super) asked: &'a BTreeMap<(Account, u64), Asked>,
    pub(super) now: (Timestamp, Instant),
}

impl View<'_> {
    /// The servers that have memory.
    pub(super) fn holders(&self, ledger: &Ledger) -> Holders {
        let rows = self.fleet.rows.values().map(|(_, row)| row);
        let holders = rows.filter_map(|row| {
            let account = account(&row.seat);
            ledger.granted().contains_key(&account).then(|| {
                let holder = Holder {
                    server: row.seat.server.clone(),
                    priority: row.definition.priority,
                    standing: self.standing(&account, row),
                };
                (account, holder)
            })
        });
        holders.collect()
    }

    fn standing(&self, account: &Account, row: &Row) -> Standing {
        let asked = (account.clone(), row.incarnation.unwrap_or_default());
        let asked = self.asked.get(&asked);
        if row.is_leaving || matches!(asked, Some(Asked::Open)) {
            return Standing::Leaving;
        }
        let is_ready = row.view.state == PublicState::Ready;
        if !is_ready || self.fleet.is_being_replaced(&row.seat.server) {
            return Standing::Underway;
        }
        if row.definition.traffic.pin {
            return Standing::Pinned;
        }
        let used = self.uses.of(&row.seat.server);
        let (in_flight, waiting) = (used.in_flight, used.waiting);
        if in_flight > 0 || waiting > 0 {
            return Standing::Busy { in_flight, waiting };
        }
        match asked {
            Some(Asked::InUse(before, until))
                if before.last_used == used.last_used && *until > self.now.1 =>
            {
                Standing::InUse
            }
            Some(Asked::InUse(..) | Asked::Open) | None => self.idle(row, used.last_used),
        }
    }

    fn idle(&self, row: &Row, used: Option<Timestamp>) -> Standing {
        let now = self.now.0;
        let ready = row.ready_since.unwrap_or(now);
        let since =
            |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        match used.filter(|used| *used >= ready) {
            Some(used) => Standing::Idle(since(used)),
            None => match FRESH.checked_sub(since(ready)) {
                Some(rest) if !rest.is_zero() => Standing::Fresh(rest),
                Some(_) | None => Standing::Idle(since(ready)),
            },
        }
    }
}
