use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::memory::{Budget, Demand, Source};

const MIB: u64 = 1 << 20;

/// How long those that are in use are left alone.
const PATIENCE: Duration = Duration::from_secs(10);

const BUSY: Standing = Standing::Busy {
    in_flight: 2,
    waiting: 1,
};

fn account(name: &str) -> Account {
    Account::new(name)
}

fn ram(bytes: u64) -> Demand {
    Demand {
        ram: bytes,
        devices: BTreeMap::new(),
        source: Source::Fit,
    }
}

fn holder(name: &str, priority: i32, standing: Standing) -> (Account, Holder) {
    let holder = Holder {
        server: ServerName::new(name).unwrap(),
        priority,
        standing,
        served: Duration::from_secs(60),
        swap_after: Some(PATIENCE),
    };
    (account(name), holder)
}

fn idle(name: &str, priority: i32, seconds: u64) -> (Account, Holder) {
    let idle = Standing::Idle(Duration::from_secs(seconds));
    holder(name, priority, idle)
}

fn ledger(bytes: u64, has: &[(&str, u64)]) -> Ledger {
    let mut ledger = Ledger::new(Budget {
        ram: bytes,
        devices_known: true,
        ..Budget::default()
    });
    for (name, bytes) in has {
        ledger.adopt(account(name), ram(*bytes));
    }
    ledger
}

/// What is done for `wanted`, which needs so much.
fn room_for(ledger: Ledger, needs: u64, holders: &[(Account, Holder)]) -> Room {
    room_after(0, ledger, needs, holders)
}

/// One that has waited for so many seconds.
fn waited(seconds: u64) -> Want {
    Want {
        waited: Duration::from_secs(seconds),
        is_awaited: true,
        swap_after: Some(PATIENCE),
        ..Want::default()
    }
}

/// What is done for `wanted`, which needs so much and has waited for so many seconds.
fn room_after(seconds: u64, mut ledger: Ledger, needs: u64, holders: &[(Account, Holder)]) -> Room {
    ledger.request(account("wanted"), ram(needs), 0);
    let wants = [(account("wanted"), waited(seconds))].into();
    let holders = holders.iter().cloned().collect();
    let mut decided = decide(&ledger, &wants, &holders);
    assert_eq!(decided.len(), 1, "{decided:?}");
    decided.remove(0).1
}

fn stopped(room: &Room) -> Vec<&str> {
    match room {
        Room::Stop { victims, .. } => victims.iter().map(Account::as_str).collect(),
        Room::Coming | Room::Soon { .. } | Room::Later { .. } | Room::Nobody { .. } => Vec::new(),
    }
}

#[test]
fn the_lowest_priority_goes_first_and_then_who_was_idle_for_longest() {
    let has = [("high", 4), ("low", 4), ("old", 4)];
    let holders = [idle("high", 9, 900), idle("low", 0, 60), idle("old", 0, 90)];
    let room = room_for(ledger(12, &has), 4, &holders);
    assert_eq!(stopped(&room), ["old"]);
    let room = room_for(ledger(12, &has), 8, &holders);
    assert_eq!(stopped(&room), ["old", "low"]);
}

#[test]
fn those_that_are_not_needed_are_spared() {
    let has = [("large", 8), ("small", 1)];
    let holders = [idle("large", 9, 5), idle("small", 0, 5)];
    let room = room_for(ledger(10, &has), 8, &holders);
    assert_eq!(stopped(&room), ["large"]);
}

#[test]
fn nobody_is_stopped_in_vain() {
    let has = [("idle", 4), ("busy", 4)];
    let holders = [idle("idle", 0, 5), holder("busy", 1, BUSY)];
    let room = room_after(60, ledger(8, &has), 6, &holders);
    assert!(matches!(room, Room::Nobody { .. }), "{room:?}");
}

#[test]
fn who_is_in_use_is_stopped_once_the_other_has_waited_and_itself_has_served_for_long_enough() {
    let room = |waited, served| {
        let (account, mut busy) = holder("busy", 0, BUSY);
        busy.served = Duration::from_secs(served);
        room_after(waited, ledger(4, &[("busy", 4)]), 4, &[(account, busy)])
    };
    let is_later = |room: Room, seconds| matches!(room, Room::Later { after, .. } if after.as_secs() == seconds);
    assert!(is_later(room(0, 60), 10));
    assert!(is_later(room(7, 60), 3));
    assert!(is_later(room(60, 4), 6));
    assert!(is_later(room(3, 4), 7));
    assert_eq!(stopped(&room(10, 10)), ["busy"]);
}

#[test]
fn who_is_in_use_stays_if_it_is_pinned_or_of_higher_priority_or_its_key_says_so() {
    let stays = |change: fn(&mut Holder)| {
        let (account, mut busy) = holder("busy", 0, BUSY);
        change(&mut busy);
        let room = room_after(600, ledger(4, &[("busy", 4)]), 4, &[(account, busy)]);
        assert!(matches!(room, Room::Nobody { .. }), "{room:?}");
    };
    stays(|busy| busy.standing = Standing::Pinned);
    stays(|busy| busy.standing = Standing::Recalled);
    stays(|busy| busy.priority = 1);
    stays(|busy| busy.swap_after = None);
}

#[test]
fn who_waits_without_a_limit_has_nobody_stopped_who_is_in_use() {
    let mut ledger = ledger(4, &[("busy", 4)]);
    ledger.request(account("wanted"), ram(4), 0);
    let want = Want {
        swap_after: None,
        ..waited(600)
    };
    let holders = [holder("busy", 0, BUSY)].into();
    let decided = decide(&ledger, &[(account("wanted"), want)].into(), &holders);
    assert!(matches!(decided[0].1, Room::Nobody { .. }), "{decided:?}");
}

#[test]
fn who_is_in_use_stays_if_nobody_waits_for_the_other_any_more() {
    let mut ledger = ledger(4, &[("busy", 4)]);
    ledger.request(account("wanted"), ram(4), 0);
    let want = Want {
        is_awaited: false,
        ..waited(600)
    };
    let holders = [holder("busy", 0, BUSY)].into();
    let decided = decide(
        &ledger,
        &[(account("wanted"), want.clone())].into(),
        &holders,
    );
    assert!(matches!(decided[0].1, Room::Nobody { .. }), "{decided:?}");
    assert_eq!(
        patience(&want),
        "it was asked for 10m 0s ago, and nobody waits: none that is in use goes"
    );
}

#[test]
fn who_is_idle_goes_before_who_is_in_use_whatever_their_priorities() {
    let has = [("busy", 4), ("idle", 4)];
    let holders = [holder("busy", 0, BUSY), idle("idle", 9, 1)];
    let room = room_after(600, ledger(8, &has), 4, &holders);
    assert_eq!(stopped(&room), ["idle"]);
    let room = room_after(600, ledger(8, &has), 6, &holders);
    assert_eq!(stopped(&room), ["idle", "busy"]);
}

#[test]
fn of_those_in_use_the_lowest_priority_goes_first_and_then_who_has_served_for_longest() {
    let serves = |name: &str, priority, seconds| {
        let (account, mut busy) = holder(name, priority, BUSY);
        busy.served = Duration::from_secs(seconds);
        (account, busy)
    };
    let has = [("a", 4), ("b", 4), ("c", 4)];
    let holders = [
        serves("a", -1, 20),
        serves("b", -1, 30),
        serves("c", -2, 10),
    ];
    let victims = |needs| stopped(&room_after(60, ledger(12, &has), needs, &holders)).join(" ");
    assert_eq!(victims(4), "c");
    assert_eq!(victims(8), "c b");
}

#[test]
fn nobody_in_use_is_stopped_for_what_cannot_fit_at_all() {
    let mut ledger = ledger(4, &[("busy", 4)]);
    ledger.request(account("wanted"), ram(9), 0);
    let holders = [holder("busy", 0, BUSY)].into();
    let wants = [(account("wanted"), waited(600))].into();
    assert_eq!(decide(&ledger, &wants, &holders), []);
}

/// Servers in use without a pause, of which one has room. Each is to have its turn, whatever their names.
#[test]
fn servers_that_are_always_in_use_all_get_their_turns() {
    let names = ["a", "b", "c"];
    let mut ledger = ledger(4, &[("a", 4)]);
    let mut since = BTreeMap::from([("b", 0_u64), ("c", 0)]);
    for name in since.keys() {
        ledger.request(account(name), ram(4), 0);
    }
    let (mut serves, mut ready, mut order) = ("a", 0, Vec::new());
    for now in 0..100 {
        let (account_of, mut busy) = holder(serves, 0, BUSY);
        busy.served = Duration::from_secs(now - ready);
        let wants = since
            .iter()
            .map(|(name, from)| (account(name), waited(now - from)));
        let decided = decide(&ledger, &wants.collect(), &[(account_of, busy)].into());
        let next = decided.iter().find(|(_, room)| !stopped(room).is_empty());
        let Some(next) = next.map(|(next, _)| next.clone()) else {
            continue;
        };
        assert!(now - ready >= PATIENCE.as_secs());
        ledger.favour(&next);
        ledger.release(&account(serves));
        ledger.request(account(serves), ram(4), 0);
        since.insert(serves, now);
        serves = names
            .into_iter()
            .find(|name| *name == next.as_str())
            .unwrap();
        since.remove(serves);
        (ready, order) = (now, [order, vec![serves]].concat());
    }
    assert_eq!(order.concat(), "bcabcabca");
}

#[test]
fn who_just_got_ready_is_waited_for() {
    let after = Duration::from_secs(2);
    let holders = [holder("fresh", 0, Standing::Fresh(after))];
    let room = room_for(ledger(8, &[("fresh", 8)]), 6, &holders);
    assert!(
        matches!(room, Room::Soon { after: told, .. } if told == after),
        "{room:?}"
    );
}

#[test]
fn who_just_got_ready_is_waited_for_rather_than_one_of_higher_priority_stopped() {
    let after = Duration::from_secs(2);
    let holders = [holder("fresh", 0, Standing::Fresh(after)), idle("a", 9, 60)];
    let has = [("fresh", 4), ("a", 4)];
    let room = room_for(ledger(8, &has), 4, &holders);
    assert!(matches!(room, Room::Soon { .. }), "{room:?}");
    let holders = [holder("fresh", 0, Standing::Fresh(after)), idle("a", 0, 60)];
    assert_eq!(stopped(&room_for(ledger(8, &has), 4, &holders)), ["a"]);
}

#[test]
fn what_is_on_its_way_out_counts_as_gone() {
    let holders = [holder("leaving", 0, Standing::Leaving), idle("a", 0, 9)];
    let room = room_for(ledger(8, &[("leaving", 4), ("a", 4)]), 4, &holders);
    assert_eq!(room, Room::Coming);
    let room = room_for(ledger(8, &[("leaving", 4), ("a", 4)]), 6, &holders);
    assert_eq!(stopped(&room), ["a"]);
}

#[test]
fn two_that_ask_are_not_given_the_same_room() {
    let mut ledger = ledger(8, &[("a", 4), ("b", 4)]);
    ledger.request(account("x"), ram(4), 0);
    ledger.request(account("y"), ram(4), 0);
    ledger.request(account("z"), ram(4), 0);
    let names = ["x", "y", "z"];
    let wants = names.map(|name| (account(name), Want::default())).into();
    let holders = [idle("a", 0, 1), idle("b", 0, 2)].into();
    let decided = decide(&ledger, &wants, &holders);
    let victims: Vec<_> = decided.iter().map(|(_, room)| stopped(room)).collect();
    assert_eq!(victims, [vec!["b"], vec!["a"], vec![]]);
    assert!(matches!(decided[2].1, Room::Nobody { .. }));
}

#[test]
fn those_that_were_asked_for_together_do_not_make_room_for_each_other() {
    let mut ledger = ledger(4, &[("a", 4)]);
    ledger.request(account("b"), ram(4), 0);
    let want = Want {
        beside: [ServerName::new("a").unwrap()].into(),
        ..waited(60)
    };
    let holders = [idle("a", 0, 1)].into();
    let decided = decide(&ledger, &[(account("b"), want)].into(), &holders);
    assert!(matches!(decided[0].1, Room::Nobody { .. }), "{decided:?}");
}

#[test]
fn a_decision_is_told_with_its_numbers() {
    let has = [("alpha", 68 * MIB), ("beta", 34 * MIB)];
    let holders = [idle("alpha", 0, 250), idle("beta", 5, 7)];
    let ledger = ledger(500 * MIB, &has);
    let granted = ledger.granted().clone();
    let Room::Stop { shortage, victims } = room_for(ledger, 455 * MIB, &holders) else {
        panic!("there are two that are idle");
    };
    let holders: Holders = holders.into();
    let victims = victims
        .iter()
        .map(|victim| (&holders[victim], granted.get(victim)));
    assert_eq!(
        making(&shortage, victims),
        "needs 455.0 MiB of RAM; 102.0 MiB of 500.0 MiB are reserved; makes room by stopping \
         alpha (idle for 4m 10s, priority 0, 68.0 MiB of RAM)"
    );
}

#[test]
fn a_wait_is_told_with_what_keeps_the_others() {
    let (pinned, busy) = (holder("a", 0, Standing::Pinned), holder("b", 1, BUSY));
    let has = [("a", MIB), ("b", MIB)];
    let room = room_for(
        ledger(2 * MIB, &has),
        2 * MIB,
        &[pinned.clone(), busy.clone()],
    );
    let Room::Nobody { shortage } = room else {
        panic!("nobody is idle");
    };
    assert_eq!(
        waiting(&shortage),
        "needs 2.0 MiB of RAM; 2.0 MiB of 2.0 MiB are reserved; no idle server could make enough room"
    );
    assert_eq!(kept(&pinned.1), "pinned");
    assert_eq!(
        kept(&busy.1),
        "2 in flight, 1 waiting, has served for 1m 0s"
    );
    assert_eq!(
        patience(&waited(4)),
        "it has waited for 4s; its swap_after is 10s"
    );
}

/// What a server that is made up looks like, and what it has.
fn standings() -> impl Strategy<Value = Standing> {
    let time = (0..5_u64).prop_map(Duration::from_secs);
    prop_oneof![
        6 => time.clone().prop_map(Standing::Idle),
        1 => time.prop_map(Standing::Fresh),
        4 => (1..3_u32, 0..3_u32).prop_map(|(in_flight, waiting)| Standing::Busy { in_flight, waiting }),
        2 => Just(Standing::InUse),
        1 => Just(Standing::Recalled),
        1 => Just(Standing::Pinned),
        1 => Just(Standing::Underway),
        1 => Just(Standing::Leaving),
    ]
}

fn demands() -> impl Strategy<Value = Demand> {
    let devices = proptest::collection::btree_map("[AB]", 0..6_u64, 0..3);
    (0..8_u64, devices).prop_map(|(ram, devices)| Demand {
        ram,
        devices,
        source: Source::Fit,
    })
}

/// How long it has been, and how long it is to be.
fn times() -> impl Strategy<Value = (Duration, Option<Duration>)> {
    let time = (0..4_u64).prop_map(Duration::from_secs);
    (time.clone(), proptest::option::weighted(0.8, time))
}

/// A ledger in which some have memory, and others ask for it.
#[derive(Clone, Debug)]
struct World {
    ledger: Ledger,
    holders: Holders,
    wants: BTreeMap<Account, Want>,
}

fn worlds() -> impl Strategy<Value = World> {
    let held = (demands(), -1..2_i32, standings(), times());
    let held = proptest::collection::vec(held, 0..7);
    let asked = (demands(), -1..2_i32, 0..4_u8, times());
    let asked = proptest::collection::vec(asked, 1..4);
    let budget = (0..24_u64, 0..16_u64, 0..6_u32);
    (held, asked, budget).prop_map(|(held, asked, (bytes, device, max_loaded))| {
        let devices = ["A", "B"].map(|name| (name.to_owned(), device));
        let mut ledger = Ledger::new(Budget {
            ram: bytes,
            devices: devices.into(),
            devices_known: true,
            max_loaded,
        });
        let mut holders = Holders::new();
        for (number, (has, priority, standing, (served, swap_after))) in
            held.into_iter().enumerate()
        {
            let (account, mut holder) = holder(&format!("h{number}"), priority, standing);
            (holder.served, holder.swap_after) = (served, swap_after);
            ledger.adopt(account.clone(), has);
            holders.insert(account, holder);
        }
        let mut wants = BTreeMap::new();
        for (number, (needs, priority, asks, times)) in asked.into_iter().enumerate() {
            let account = account(&format!("w{number}"));
            ledger.request(account.clone(), needs, priority);
            if asks > 0 {
                let (waited, swap_after) = times;
                let beside = BTreeSet::new();
                wants.insert(
                    account,
                    Want {
                        beside,
                        priority,
                        waited,
                        is_awaited: asks > 1,
                        swap_after,
                    },
                );
            }
        }
        World {
            ledger,
            holders,
            wants,
        }
    })
}

impl World {
    /// What is decided, and the ledger that each decision was made for.
    fn decided(&self) -> Vec<(Account, Room, Ledger)> {
        let mut before = self.ledger.clone();
        let leaving = self.holders.iter();
        let leaving = leaving.filter(|(_, holder)| holder.standing == Standing::Leaving);
        before.release_all(leaving.map(|(account, _)| account));
        let decided = decide(&self.ledger, &self.wants, &self.holders);
        let each = decided.into_iter().map(|(account, room)| {
            let for_it = before.clone();
            if let Room::Stop { victims, .. } = &room {
                before.favour(&account);
                before.release_all(victims);
            }
            (account, room, for_it)
        });
        each.collect()
    }

    fn victims(&self) -> Vec<Account> {
        let decided = self.decided().into_iter();
        let victims = decided.filter_map(|(_, room, _)| match room {
            Room::Stop { victims, .. } => Some(victims),
            Room::Coming | Room::Soon { .. } | Room::Later { .. } | Room::Nobody { .. } => None,
        });
        victims.flatten().collect()
    }

    /// Whether a server may be stopped for `account` although it is in use, when `more` has passed.
    fn may_swap(&self, account: &Account, victim: &Account, more: Duration) -> bool {
        let (holder, want) = (&self.holders[victim], &self.wants[account]);
        let is_over =
            |time, limit: Option<Duration>| limit.is_some_and(|limit| time + more >= limit);
        let in_use = matches!(holder.standing, Standing::Busy { .. } | Standing::InUse);
        in_use
            && holder.priority <= want.priority
            && want.is_awaited
            && is_over(want.waited, want.swap_after)
            && is_over(holder.served, holder.swap_after)
    }

    /// Whoever may be stopped for `account` when `more` has passed.
    fn may_go(&self, account: &Account, more: Duration) -> Vec<Account> {
        let all = self.holders.keys();
        let may = all
            .filter(|holder| self.place(holder).is_some() || self.may_swap(account, holder, more));
        may.cloned().collect()
    }

    /// Its place in the order in which servers are stopped. None: it is not.
    fn place(&self, account: &Account) -> Option<(i32, Reverse<Duration>)> {
        let holder = &self.holders[account];
        match holder.standing {
            Standing::Idle(since) => Some((holder.priority, Reverse(since))),
            Standing::Fresh(_) => Some((holder.priority, Reverse(Duration::ZERO))),
            _ => None,
        }
    }

    fn is_idle(&self, account: &Account) -> bool {
        matches!(self.holders[account].standing, Standing::Idle(_))
    }
}

fn has_it_without(ledger: &Ledger, account: &Account, gone: &[Account]) -> bool {
    let mut ledger = ledger.clone();
    ledger.favour(account);
    is_enough(&ledger, account, gone)
}

proptest! {
    #[test]
    fn only_the_idle_and_those_whose_time_is_over_are_stopped_and_each_once(world in worlds()) {
        for (account, room, _) in world.decided() {
            if let Room::Stop { victims, .. } = room {
                for victim in &victims {
                    let may_go = world.is_idle(victim) || world.may_swap(&account, victim, Duration::ZERO);
                    prop_assert!(may_go, "{victim} for {account} in {world:?}");
                }
            }
        }
        let victims = world.victims();
        let once: BTreeSet<_> = victims.iter().collect();
        prop_assert_eq!(once.len(), victims.len());
    }

    #[test]
    fn nobody_who_is_in_use_is_stopped_while_the_idle_would_be_enough(world in worlds()) {
        for (account, room, before) in world.decided() {
            if let Room::Stop { victims, .. } = room
                && victims.iter().any(|victim| world.holders[victim].is_in_use())
            {
                let idle = world.holders.keys().filter(|holder| world.place(holder).is_some());
                let idle: Vec<_> = idle.cloned().collect();
                prop_assert!(!has_it_without(&before, &account, &idle), "{idle:?} are enough for {account}");
            }
        }
    }

    #[test]
    fn who_is_told_to_wait_is_not_told_a_time_at_which_nothing_would_have_changed(world in worlds()) {
        for (account, room, before) in world.decided() {
            if let Room::Later { after, .. } = room {
                prop_assert!(after > Duration::ZERO);
                prop_assert!(has_it_without(&before, &account, &world.may_go(&account, after)));
                let earlier = after - Duration::from_millis(1);
                prop_assert!(!has_it_without(&before, &account, &world.may_go(&account, earlier)));
            }
        }
    }

    #[test]
    fn whoever_is_stopped_makes_enough_room_and_none_of_them_is_needless(world in worlds()) {
        for (account, room, before) in world.decided() {
            if let Room::Stop { victims, .. } = room {
                prop_assert!(has_it_without(&before, &account, &victims));
                for spared in 0..victims.len() {
                    let mut fewer = victims.clone();
                    fewer.remove(spared);
                    prop_assert!(!has_it_without(&before, &account, &fewer), "{fewer:?} are enough for {account}");
                }
            }
        }
    }

    #[test]
    fn nobody_is_stopped_for_one_that_has_room_or_cannot_have_it(world in worlds()) {
        for (account, room, before) in world.decided() {
            let taken = |victim: &&Account| before.granted().contains_key(*victim);
            let may_go = world.may_go(&account, Duration::ZERO);
            let left: Vec<_> = may_go.iter().filter(taken).cloned().collect();
            let has_room = has_it_without(&before, &account, &[]);
            let could_have_it = has_it_without(&before, &account, &left);
            let stops = matches!(room, Room::Stop { .. } | Room::Soon { .. });
            let never = before.decision(&account).is_none_or(|decision| matches!(decision, Decision::Never(_)));
            prop_assert_eq!(stops, !has_room && could_have_it && !never, "{} in {:?}: {:?}", account, world, room);
        }
    }

    #[test]
    fn nobody_is_stopped_while_those_before_him_would_be_enough(world in worlds()) {
        for (account, room, before) in world.decided() {
            if let Room::Stop { victims, .. } = room {
                let idle = victims.iter().filter(|victim| world.place(victim).is_some());
                if idle.clone().count() < victims.len() {
                    continue;
                }
                let last = idle.filter_map(|victim| Some((world.place(victim)?, victim.clone()))).max();
                let Some(last) = last else { continue };
                let all = world.holders.keys().filter_map(|holder| Some((world.place(holder)?, holder.clone())));
                let taken = |holder: &Account| before.granted().contains_key(holder);
                let earlier: Vec<_> = all.filter(|place| *place < last && taken(&place.1)).map(|(_, holder)| holder).collect();
                prop_assert!(!has_it_without(&before, &account, &earlier), "{earlier:?} are enough for {account}");
            }
        }
    }

    #[test]
    fn who_asks_for_no_room_is_made_none(world in worlds()) {
        for (account, ..) in world.decided() {
            prop_assert!(world.wants.contains_key(&account));
        }
    }
}
