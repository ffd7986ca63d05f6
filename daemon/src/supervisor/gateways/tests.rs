use super::*;
use crate::supervisor::board::testing::row;

fn gateways() -> Gateways {
    let board = Board::new();
    board.publish(row("a", 1));
    Gateways::new(board, BTreeSet::new())
}

#[tokio::test(start_paused = true)]
async fn those_that_were_attached_before_are_waited_for_but_not_for_long() {
    let gateways = Gateways::new(Board::new(), BTreeSet::from(["1".to_owned()]));
    assert!(gateways.were_attached());
    let waits = tokio::spawn({
        let gateways = gateways.clone();
        async move { gateways.former_are_back().await }
    });
    tokio::time::sleep(PATIENCE / 2).await;
    assert!(!waits.is_finished());
    let back = gateways.attach(gateway("1"));
    waits.await.unwrap();
    drop(back);
    let began = Instant::now();
    gateways.former_are_back().await;
    gateways.former_are_back().await;
    assert!(began.elapsed() <= PATIENCE / 2 + Duration::from_millis(2));
}

fn name() -> ServerName {
    ServerName::new("a").unwrap()
}

fn gateway(id: &str) -> Gateway {
    Gateway {
        id: id.to_owned(),
        version: String::new(),
        pid: 1,
        addresses: Vec::new(),
        attached_at: Timestamp::UNIX_EPOCH,
    }
}

fn in_flight(count: u32) -> Use {
    Use {
        in_flight: count,
        ..Use::default()
    }
}

#[tokio::test]
async fn nobody_is_waited_for_if_no_gateway_is_attached() {
    let drain = gateways().drain(name(), 1, false);
    assert_eq!(drain.answer().await, Answer::LetGo);
}

#[tokio::test]
async fn every_gateway_has_to_let_go() {
    let gateways = gateways();
    let [mut one, mut two] = ["1", "2"].map(|id| gateways.attach(gateway(id)));
    let drain = gateways.drain(name(), 1, false);
    let about = (name(), 1);
    let order = Order::Drain {
        about: about.clone(),
        only_if_idle: false,
    };
    assert_eq!(one.orders(), Some(vec![order]));
    assert_eq!(one.orders(), Some(Vec::new()));
    assert_eq!(two.orders().unwrap().len(), 1);
    one.ear().drained(&about);
    // Only idle stops can be refused.
    two.ear().busy(&about);
    assert_eq!(gateways.talk.borrow().answer(&about, drain.number), None);
    two.ear().drained(&about);
    assert_eq!(drain.answer().await, Answer::LetGo);
    drop(drain);
    // It is being ended.
    assert_eq!(one.orders(), Some(Vec::new()));
}

#[test]
fn a_gateway_is_told_that_an_incarnation_goes_on() {
    let gateways = gateways();
    let mut one = gateways.attach(gateway("1"));
    let drain = gateways.drain(name(), 1, false);
    assert_eq!(one.orders().unwrap().len(), 1);
    let mut ready = row("a", 1);
    ready.view.state = PublicState::Ready;
    gateways.board.publish(ready);
    drop(drain);
    assert_eq!(one.orders(), Some(vec![Order::Over((name(), 1))]));
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_not_waited_for() {
    let gateways = gateways();
    let gone = gateways.attach(gateway("1"));
    let drain = gateways.drain(name(), 1, false);
    drop(gone);
    assert_eq!(drain.answer().await, Answer::LetGo);
}

#[tokio::test]
async fn one_busy_gateway_refuses_an_idle_stop() {
    let gateways = gateways();
    let [mut one, mut two] = ["1", "2"].map(|id| gateways.attach(gateway(id)));
    let drain = gateways.drain(name(), 1, true);
    assert!(one.orders().is_some() && two.orders().is_some());
    one.ear().drained(&(name(), 1));
    two.ear().busy(&(name(), 1));
    assert_eq!(drain.answer().await, Answer::Busy);
}

#[test]
fn a_drain_that_is_asked_for_again_is_told_again() {
    let gateways = gateways();
    let mut one = gateways.attach(gateway("1"));
    let first = gateways.drain(name(), 1, true);
    assert_eq!(one.orders().unwrap().len(), 1);
    let _second = gateways.drain(name(), 1, false);
    // The end of the first is not that of the second.
    drop(first);
    let order = Order::Drain {
        about: (name(), 1),
        only_if_idle: false,
    };
    assert_eq!(one.orders(), Some(vec![order]));
}

#[test]
fn an_answer_to_an_earlier_drain_is_none_to_this_one() {
    let gateways = gateways();
    let mut one = gateways.attach(gateway("1"));
    let about = (name(), 1);
    drop(gateways.drain(name(), 1, true));
    let drain = gateways.drain(name(), 1, true);
    one.ear().drained(&about);
    let answer = || gateways.talk.borrow().answer(&about, drain.number);
    assert_eq!(answer(), None);
    assert_eq!(one.orders().unwrap().len(), 1);
    one.ear().drained(&about);
    assert_eq!(answer(), Some(Answer::LetGo));
}

#[test]
fn a_gateway_that_attaches_again_takes_its_own_place() {
    let gateways = gateways();
    let mut first = gateways.attach(gateway("1"));
    let mut second = gateways.attach(gateway("1"));
    assert_eq!(gateways.list().len(), 1);
    assert_eq!(first.orders(), None);
    assert!(second.orders().is_some());
}

#[test]
fn what_was_in_flight_at_a_gateway_goes_with_it() {
    let gateways = gateways();
    let [one, two] = ["1", "2"].map(|id| gateways.attach(gateway(id)));
    one.ear().activity(&name(), in_flight(3));
    two.ear().activity(&name(), in_flight(1));
    assert_eq!(gateways.use_of(&name()).in_flight, 4);
    drop(one);
    assert_eq!(gateways.use_of(&name()).in_flight, 1);
}

#[test]
fn a_clock_that_is_ahead_is_not_believed() {
    let gateways = gateways();
    let ahead = Use {
        last_used: Some(Timestamp::MAX),
        ..Use::default()
    };
    let one = gateways.attach(gateway("1"));
    one.ear().activity(&name(), ahead);
    assert!(gateways.use_of(&name()).last_used.unwrap() <= Timestamp::now());
}

#[test]
fn servers_that_nobody_knows_are_not_listened_to() {
    let gateways = gateways();
    let one = gateways.attach(gateway("1"));
    one.ear()
        .activity(&ServerName::new("b").unwrap(), in_flight(1));
    assert!(gateways.uses.borrow().0.is_empty());
}
