use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::memory::demand::Source;

const GIB: u64 = 1 << 30;

fn account(name: &str) -> Account {
    Account::new(name)
}

fn ram(bytes: u64) -> Demand {
    Demand {
        ram: bytes,
        devices: BTreeMap::new(),
        source: Source::Estimate,
    }
}

fn on(device: &str, bytes: u64) -> Demand {
    Demand {
        devices: [(device.to_owned(), bytes)].into(),
        ..ram(0)
    }
}

fn budget(ram: u64) -> Budget {
    Budget {
        ram,
        devices_known: true,
        ..Budget::default()
    }
}

fn ledger(bytes: u64) -> Ledger {
    Ledger::new(budget(bytes))
}

fn holders(ledger: &Ledger) -> Vec<&str> {
    ledger.granted().keys().map(Account::as_str).collect()
}

#[test]
fn what_does_not_fit_waits_and_says_why() {
    let mut ledger = ledger(8 * GIB);
    assert_eq!(
        ledger.request(account("a"), ram(6 * GIB), 0),
        Decision::Granted
    );
    let Decision::Waiting(Some(shortage)) = ledger.request(account("b"), ram(4_402_341_478), 0)
    else {
        panic!("it does not fit");
    };
    assert_eq!(
        shortage.to_string(),
        "needs 4.1 GiB of RAM; 6.0 GiB of 8.0 GiB are reserved"
    );
    ledger.release(&account("a"));
    assert_eq!(ledger.decision(&account("b")), Some(Decision::Granted));
}

#[test]
fn what_can_never_fit_is_told_so_at_once_and_keeps_nobody_waiting() {
    let mut ledger = ledger(8 * GIB);
    ledger.request(account("a"), ram(GIB), 0);
    let Decision::Never(never) = ledger.request(account("b"), ram(9 * GIB), 9) else {
        panic!("it does not fit even alone");
    };
    assert_eq!(
        never.to_string(),
        "cannot ever fit: it needs 9.0 GiB of RAM; [memory] ram allows 8.0 GiB for all servers"
    );
    assert_eq!(ledger.decision(&account("b")), None);
}

#[test]
fn of_servers_that_start_together_the_higher_priority_is_decided_first() {
    let mut ledger = ledger(10);
    let low = (account("low"), 1);
    let high = (account("high"), 5);
    ledger.expect(&[low, high]);
    assert_eq!(
        ledger.request(account("low"), ram(8), 1),
        Decision::Waiting(None)
    );
    assert_eq!(
        ledger.request(account("high"), ram(8), 5),
        Decision::Granted
    );
    assert!(matches!(
        ledger.decision(&account("low")),
        Some(Decision::Waiting(Some(_)))
    ));
}

#[test]
fn an_expected_server_that_is_withdrawn_keeps_nobody_waiting() {
    let mut ledger = ledger(10);
    ledger.expect(&[(account("high"), 5)]);
    ledger.request(account("low"), ram(8), 1);
    ledger.expect_no_more(&account("low"));
    assert_eq!(
        ledger.decision(&account("low")),
        Some(Decision::Waiting(None))
    );
    ledger.expect_no_more(&account("high"));
    assert_eq!(ledger.decision(&account("low")), Some(Decision::Granted));
}

#[test]
fn a_smaller_one_of_lower_priority_takes_what_is_left() {
    let mut ledger = ledger(10);
    ledger.request(account("first"), ram(6), 9);
    ledger.request(account("large"), ram(8), 5);
    assert_eq!(
        ledger.request(account("small"), ram(4), 1),
        Decision::Granted
    );
}

#[test]
fn room_that_appears_goes_to_the_highest_priority() {
    let mut ledger = ledger(10);
    ledger.request(account("first"), ram(10), 0);
    ledger.request(account("low"), ram(10), 1);
    ledger.request(account("high"), ram(10), 5);
    ledger.request(account("also-high"), ram(10), 5);
    ledger.release(&account("first"));
    assert_eq!(holders(&ledger), ["also-high"]);
    ledger.release(&account("also-high"));
    assert_eq!(holders(&ledger), ["high"]);
}

#[test]
fn a_survivor_has_what_it_uses_even_beyond_the_budget() {
    let mut ledger = ledger(10);
    ledger.adopt(account("survivor"), ram(50));
    assert_eq!(holders(&ledger), ["survivor"]);
    assert!(ledger.would_fit(&ram(1)).is_err());
}

#[test]
fn a_corrected_figure_kills_nobody_and_makes_room_if_it_is_lower() {
    let mut ledger = ledger(10);
    ledger.request(account("a"), ram(8), 0);
    ledger.request(account("b"), ram(4), 0);
    ledger.correct(&account("a"), ram(20));
    assert_eq!(holders(&ledger), ["a"]);
    ledger.correct(&account("a"), ram(6));
    assert_eq!(holders(&ledger), ["a", "b"]);
    ledger.correct(&account("nobody"), ram(6));
    assert_eq!(holders(&ledger), ["a", "b"]);
}

#[test]
fn what_an_account_had_goes_to_whoever_comes_first_when_it_asks_anew() {
    let mut ledger = ledger(10);
    ledger.request(account("a"), ram(8), 1);
    ledger.request(account("low"), ram(8), 0);
    ledger.request(account("a"), ram(7), 1);
    assert_eq!(holders(&ledger), ["a"]);
    ledger.request(account("high"), ram(8), 2);
    ledger.request(account("a"), ram(8), 1);
    assert_eq!(holders(&ledger), ["high"]);
}

#[test]
fn max_loaded_counts_servers() {
    let mut ledger = Ledger::new(Budget {
        max_loaded: 1,
        ..budget(10)
    });
    ledger.request(account("a"), ram(1), 0);
    let Decision::Waiting(Some(shortage)) = ledger.request(account("b"), ram(1), 0) else {
        panic!("there is one place");
    };
    assert_eq!(
        shortage.to_string(),
        "needs a place; 1 of 1 that [memory] max_loaded allows are taken"
    );
}

#[test]
fn one_server_at_a_time_uses_devices_that_are_not_known() {
    let mut ledger = ledger(10);
    assert_eq!(
        ledger.request(account("a"), on("CUDA0", 99), 0),
        Decision::Granted
    );
    let waits = ledger.request(account("b"), on("CUDA1", 1), 0);
    assert!(matches!(waits, Decision::Waiting(Some(_))), "{waits:?}");
    assert_eq!(ledger.request(account("c"), ram(1), 0), Decision::Granted);
}

#[test]
fn each_device_has_a_budget_of_its_own() {
    let devices = [("CUDA0".to_owned(), 10), ("CUDA1".to_owned(), 10)];
    let mut ledger = Ledger::new(Budget {
        devices: devices.into(),
        ..budget(10)
    });
    assert_eq!(
        ledger.request(account("a"), on("CUDA0", 9), 0),
        Decision::Granted
    );
    assert_eq!(
        ledger.request(account("b"), on("CUDA1", 9), 0),
        Decision::Granted
    );
    let waits = ledger.request(account("c"), on("CUDA1", 2), 0);
    assert!(matches!(waits, Decision::Waiting(Some(_))), "{waits:?}");
}

#[test]
fn a_server_that_waits_is_told_when_a_lower_budget_makes_it_hopeless() {
    let mut ledger = ledger(10);
    ledger.request(account("a"), ram(8), 0);
    ledger.request(account("b"), ram(8), 0);
    ledger.set_budget(budget(5));
    assert_eq!(holders(&ledger), ["a"]);
    assert!(matches!(
        ledger.decision(&account("b")),
        Some(Decision::Never(_))
    ));
}

#[test]
fn what_gets_free_is_kept_for_the_one_for_whom_room_is_made() {
    let mut ledger = ledger(10);
    ledger.request(account("a"), ram(5), 0);
    ledger.request(account("b"), ram(5), 0);
    ledger.request(account("high"), ram(5), 9);
    ledger.request(account("large"), ram(10), 0);
    ledger.favour(&account("large"));
    ledger.release(&account("a"));
    assert_eq!(holders(&ledger), ["b"]);
    ledger.release(&account("b"));
    assert_eq!(holders(&ledger), ["large"]);
    ledger.release(&account("large"));
    assert_eq!(holders(&ledger), ["high"]);
}

#[test]
fn one_for_whom_no_room_is_made_any_more_keeps_nobody_waiting() {
    let waiting = || {
        let mut ledger = ledger(10);
        ledger.request(account("a"), ram(10), 0);
        ledger.request(account("large"), ram(10), 0);
        ledger.request(account("small"), ram(2), 0);
        ledger.favour(&account("large"));
        ledger.correct(&account("a"), ram(5));
        assert_eq!(holders(&ledger), ["a"]);
        ledger
    };
    let mut ledger = waiting();
    ledger.favour_no_more(&account("large"));
    assert_eq!(holders(&ledger), ["a", "small"]);
    let mut ledger = waiting();
    ledger.withdraw(&account("large"));
    assert_eq!(holders(&ledger), ["a", "small"]);
}

#[derive(Clone, Debug)]
enum Move {
    Expect(u8, i32),
    ExpectNoMore(u8),
    Withdraw(u8),
    Request(u8, Demand, i32),
    Release(u8),
    Correct(u8, Demand),
    Adopt(u8, Demand),
    SetBudget(Budget),
    Favour(u8),
    FavourNoMore(u8),
}

fn demands() -> impl Strategy<Value = Demand> {
    let amount = prop_oneof![9 => 0..12_u64, 1 => Just(u64::MAX)];
    let devices = proptest::collection::btree_map("[ABC]", amount.clone(), 0..3);
    (amount, devices).prop_map(|(ram, devices)| Demand {
        ram,
        devices,
        source: Source::Estimate,
    })
}

fn budgets() -> impl Strategy<Value = Budget> {
    (0..20_u64, 0..20_u64, 0..5_u32).prop_map(|(ram, device, max_loaded)| Budget {
        ram,
        devices: [("A".to_owned(), device), ("B".to_owned(), 10)].into(),
        devices_known: true,
        max_loaded,
    })
}

fn moves() -> impl Strategy<Value = Move> {
    let who = 0..6_u8;
    prop_oneof![
        2 => (who.clone(), -2..3).prop_map(|(who, priority)| Move::Expect(who, priority)),
        1 => who.clone().prop_map(Move::ExpectNoMore),
        1 => who.clone().prop_map(Move::Withdraw),
        6 => (who.clone(), demands(), -2..3).prop_map(|(who, d, p)| Move::Request(who, d, p)),
        3 => who.clone().prop_map(Move::Release),
        1 => (who.clone(), demands()).prop_map(|(who, demand)| Move::Correct(who, demand)),
        1 => (who.clone(), demands()).prop_map(|(who, demand)| Move::Adopt(who, demand)),
        2 => who.clone().prop_map(Move::Favour),
        1 => who.prop_map(Move::FavourNoMore),
        1 => budgets().prop_map(Move::SetBudget),
    ]
}

fn play(ledger: &mut Ledger, step: &Move) {
    let name = |who: &u8| account(&who.to_string());
    match step {
        Move::Expect(who, priority) => ledger.expect(&[(name(who), *priority)]),
        Move::ExpectNoMore(who) => ledger.expect_no_more(&name(who)),
        Move::Withdraw(who) => ledger.withdraw(&name(who)),
        Move::Request(who, demand, priority) => {
            let decision = ledger.request(name(who), demand.clone(), *priority);
            let is_kept = !matches!(decision, Decision::Never(_));
            assert_eq!(ledger.decision(&name(who)), is_kept.then_some(decision));
        }
        Move::Release(who) => ledger.release(&name(who)),
        Move::Correct(who, demand) => ledger.correct(&name(who), demand.clone()),
        Move::Adopt(who, demand) => ledger.adopt(name(who), demand.clone()),
        Move::SetBudget(budget) => ledger.set_budget(budget.clone()),
        Move::Favour(who) => ledger.favour(&name(who)),
        Move::FavourNoMore(who) => ledger.favour_no_more(&name(who)),
    }
}

/// Whether all that is granted of what `account` uses fits, computed without the ledger's own sums.
fn is_within(ledger: &Ledger, account: &Account) -> bool {
    let budget = ledger.budget();
    let granted: Vec<_> = ledger.granted().values().collect();
    let sum = |of: &dyn Fn(&Demand) -> u64| -> u128 {
        granted.iter().map(|demand| u128::from(of(demand))).sum()
    };
    let is_unknown = |device: &String| !budget.devices.contains_key(device);
    let unknown = granted
        .iter()
        .filter(|demand| demand.devices.keys().any(is_unknown));
    let devices = &ledger.granted()[account].devices;
    let device_fits = |device: &String| match budget.devices.get(device) {
        Some(&most) => {
            sum(&|demand| demand.devices.get(device).copied().unwrap_or(0)) <= most.into()
        }
        None => unknown.clone().count() == 1,
    };
    sum(&|demand| demand.ram) <= budget.ram.into()
        && devices.keys().all(device_fits)
        && (budget.max_loaded == 0 || granted.len() <= budget.max_loaded as usize)
}

proptest! {
    #[test]
    fn what_is_newly_granted_keeps_within_the_budget(steps in proptest::collection::vec(moves(), 1..60)) {
        let mut ledger = ledger(10);
        for step in &steps {
            let before: BTreeSet<_> = ledger.granted().keys().cloned().collect();
            play(&mut ledger, step);
            let is_forced = matches!(step, Move::Correct(..) | Move::Adopt(..) | Move::SetBudget(..));
            let mut new = ledger.granted().keys().filter(|account| !before.contains(account));
            let fits = is_forced || new.all(|account| is_within(&ledger, account));
            prop_assert!(fits, "after {step:?}: {ledger:?}");
        }
    }

    #[test]
    fn nobody_waits_who_would_fit_with_nobody_undecided_ahead(steps in proptest::collection::vec(moves(), 1..60)) {
        let mut ledger = ledger(10);
        for step in &steps {
            play(&mut ledger, step);
            let favours = |account| ledger.favoured.is_empty() || ledger.favoured.contains(account);
            let undecided = ledger.pending.iter().take_while(|(_, demand)| demand.is_some());
            for ((_, account), demand) in undecided.filter(|((_, account), _)| favours(account)) {
                let demand = demand.as_ref().unwrap();
                prop_assert!(ledger.would_fit(demand).is_err(), "{account} waits after {step:?}: {ledger:?}");
            }
        }
    }

    #[test]
    fn nobody_has_memory_and_waits_for_it(steps in proptest::collection::vec(moves(), 1..60)) {
        let mut ledger = ledger(10);
        for step in &steps {
            play(&mut ledger, step);
            let mut seen = BTreeSet::new();
            let pending = ledger.pending.keys().map(|(_, account)| account);
            for account in pending.chain(ledger.granted.keys()) {
                prop_assert!(seen.insert(account), "{account} is there twice after {step:?}");
            }
        }
    }
}
