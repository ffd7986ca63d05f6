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
    Open {
        /// Whether it was to stop in any case.
        is_order: bool,
        /// How often it refused before.
        refusals: u32,
    },
    /// It was in use, and is left alone until that has changed.
    InUse {
        /// Whether it was to stop in any case: an operator had it go on.
        is_order: bool,
        /// What gateways knew of it then.
        before: Use,
        /// When it is asked again anyway: they do not know of everybody who uses it.
        until: Instant,
        /// How often it has refused.
        refusals: u32,
    },
}

impl Asked {
    /// How often the server has refused.
    pub(super) fn refusals(&self) -> u32 {
        match self {
            Self::Open { refusals, .. } | Self::InUse { refusals, .. } => *refusals,
        }
    }

    /// Whether the server was to stop in any case.
    pub(super) fn is_order(&self) -> bool {
        match self {
            Self::Open { is_order, .. } | Self::InUse { is_order, .. } => *is_order,
        }
    }
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
                    served: self.served(row),
                    swap_after: row.definition.traffic.swap_after,
                };
                (account, holder)
            })
        });
        holders.collect()
    }

    fn standing(&self, account: &Account, row: &Row) -> Standing {
        let asked = (account.clone(), row.incarnation.unwrap_or_default());
        let asked = self.asked.get(&asked);
        // One that was asked for meanwhile may have got memory again.
        let is_asked = matches!(asked, Some(Asked::Open { .. }));
        if row.is_leaving || is_asked && row.view.state != PublicState::Starting {
            return Standing::Leaving;
        }
        let is_ready = row.view.state == PublicState::Ready;
        if !is_ready || self.fleet.is_being_replaced(&row.seat.server) {
            return Standing::Underway;
        }
        if row.definition.traffic.pin {
            return Standing::Pinned;
        }
        if let Some(Asked::InUse {
            is_order: true,
            until,
            ..
        }) = asked
            && *until > self.now.1
        {
            return Standing::Recalled;
        }
        let used = self.uses.of(&row.seat.server);
        let (in_flight, waiting) = (used.in_flight, used.waiting);
        if in_flight > 0 || waiting > 0 {
            return Standing::Busy { in_flight, waiting };
        }
        match asked {
            Some(Asked::InUse { before, until, .. })
                if before.last_used == used.last_used && *until > self.now.1 =>
            {
                Standing::InUse
            }
            Some(Asked::InUse { .. } | Asked::Open { .. }) | None => self.idle(row, used.last_used),
        }
    }

    fn idle(&self, row: &Row, used: Option<Timestamp>) -> Standing {
        let ready = row.ready_since.unwrap_or(self.now.0);
        match used.filter(|used| *used >= ready) {
            Some(used) => Standing::Idle(self.since(used)),
            None => match FRESH.checked_sub(self.served(row)) {
                Some(rest) if !rest.is_zero() => Standing::Fresh(rest),
                Some(_) | None => Standing::Idle(self.served(row)),
            },
        }
    }

    /// How long it has been ready.
    fn served(&self, row: &Row) -> Duration {
        row.ready_since
            .map(|ready| self.since(ready))
            .unwrap_or_default()
    }

    fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now.0.duration_since(then)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use jiff::SignedDuration;

    use super::*;
    use crate::supervisor::board::{Board, testing};
    use crate::supervisor::gateways::{Gateway, Gateways};

    const LONG: SignedDuration = SignedDuration::from_secs(60);

    /// A server that got ready a minute ago.
    struct Seen {
        row: Row,
        told: Use,
        asked: BTreeMap<(Account, u64), Asked>,
        beside: Option<&'static str>,
    }

    fn seen() -> Seen {
        let mut row = testing::row("a", 1);
        row.view.state = PublicState::Ready;
        row.ready_since = Some(Timestamp::now() - LONG);
        Seen {
            row,
            told: Use::default(),
            asked: BTreeMap::new(),
            beside: None,
        }
    }

    impl Seen {
        fn asked(mut self, asked: Asked) -> Self {
            self.asked.insert((account(&self.row.seat), 1), asked);
            self
        }

        fn standing(&self) -> Standing {
            let board = Board::new();
            board.publish(self.row.clone());
            if let Some(seat) = self.beside {
                board.publish(testing::row(seat, 2));
            }
            let gateways = Gateways::new(board.clone(), BTreeSet::new());
            let attachment = gateways.attach(Gateway {
                id: String::new(),
                version: String::new(),
                pid: 1,
                addresses: Vec::new(),
                attached_at: Timestamp::UNIX_EPOCH,
            });
            let server = &self.row.seat.server;
            attachment.ear().activity(server, self.told);
            let (fleet, uses) = (board.read(), gateways.uses());
            let view = View {
                fleet: &fleet,
                uses: &uses.borrow(),
                asked: &self.asked,
                now: (Timestamp::now(), Instant::now()),
            };
            view.standing(&account(&self.row.seat), &self.row)
        }
    }

    fn is_idle_for(standing: Standing, seconds: u64) -> bool {
        matches!(standing, Standing::Idle(since) if since.as_secs().abs_diff(seconds) <= 1)
    }

    #[tokio::test]
    async fn who_was_not_used_is_idle_since_it_got_ready() {
        assert!(is_idle_for(seen().standing(), 60));
        let mut server = seen();
        server.told.last_used = Some(Timestamp::now() - SignedDuration::from_secs(20));
        assert!(is_idle_for(server.standing(), 20));
        // That was an earlier incarnation.
        server.told.last_used = Some(Timestamp::now() - LONG * 2);
        assert!(is_idle_for(server.standing(), 60));
    }

    #[tokio::test]
    async fn who_just_got_ready_is_idle_once_it_was_used() {
        let mut server = seen();
        server.row.ready_since = Some(Timestamp::now());
        assert!(matches!(server.standing(), Standing::Fresh(_)));
        server.told.last_used = Some(Timestamp::now());
        assert!(is_idle_for(server.standing(), 0));
    }

    #[tokio::test]
    async fn requests_in_flight_and_waiting_keep_a_server_busy() {
        for (in_flight, waiting) in [(1, 0), (0, 1)] {
            let mut server = seen();
            server.told.in_flight = in_flight;
            server.told.waiting = waiting;
            let busy = Standing::Busy { in_flight, waiting };
            assert_eq!(server.standing(), busy);
        }
    }

    #[tokio::test]
    async fn one_that_was_in_use_is_left_alone_until_it_was_used_or_for_a_while() {
        let in_use = |until| {
            seen().asked(Asked::InUse {
                is_order: false,
                before: Use::default(),
                until,
                refusals: 1,
            })
        };
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(in_use(later).standing(), Standing::InUse);
        assert!(is_idle_for(in_use(Instant::now()).standing(), 60));
        let mut used = in_use(later);
        used.told.last_used = Some(Timestamp::now());
        assert!(is_idle_for(used.standing(), 0));
    }

    #[tokio::test]
    async fn one_that_an_operator_had_go_on_is_left_alone_for_a_while_also_if_it_is_busy() {
        let recalled = |until| {
            let mut server = seen().asked(Asked::InUse {
                is_order: true,
                before: Use::default(),
                until,
                refusals: 1,
            });
            server.told.in_flight = 1;
            server.standing()
        };
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(recalled(later), Standing::Recalled);
        assert!(matches!(recalled(Instant::now()), Standing::Busy { .. }));
    }

    #[tokio::test]
    async fn one_that_was_asked_counts_as_gone_until_it_answers() {
        let asked = Asked::Open {
            is_order: true,
            refusals: 0,
        };
        assert_eq!(seen().asked(asked).standing(), Standing::Leaving);
        let mut again = seen().asked(asked);
        again.row.view.state = PublicState::Starting;
        assert_eq!(again.standing(), Standing::Underway);
        let mut next = seen().asked(asked);
        next.row.incarnation = Some(2);
        assert!(is_idle_for(next.standing(), 60));
    }

    #[tokio::test]
    async fn the_pinned_and_those_that_are_replaced_stay() {
        let mut pinned = seen();
        Arc::make_mut(&mut pinned.row.definition).traffic.pin = true;
        assert_eq!(pinned.standing(), Standing::Pinned);
        let mut replaced = seen();
        replaced.beside = Some("a~1");
        assert_eq!(replaced.standing(), Standing::Underway);
    }
}
