//! What requests ask of a server, and what becomes of one that has none.

use super::*;

#[test]
fn a_request_starts_what_is_stopped_and_joins_a_load() {
    let mut scene = Scene::of(World::new(Policy::default()));
    scene.ask(Ask::Demand);
    scene.tell(Message::Turn);
    scene.tell(Message::Spawned);
    scene.ask(Ask::Demand);
    assert_eq!(scene.world.actions, []);
    scene.tell(Message::Healthy);
    scene.ask(Ask::Demand);
    assert_eq!(scene.incarnation(), (PublicState::Ready, 1));
}

#[test]
fn an_operators_stop_is_finished_before_a_request_starts_the_server_again() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Stop);
    scene.ask(Ask::Demand);
    assert_eq!(scene.public(), PublicState::Draining);
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
}

#[test]
fn a_start_after_a_request_calls_the_stop_off_all_the_same() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Stop);
    scene.ask(Ask::Demand);
    scene.ask(Ask::Start);
    assert_eq!(scene.incarnation(), (PublicState::Ready, 1));
}

#[test]
fn a_request_calls_an_idle_stop_off() {
    let mut scene = Scene::ready();
    scene.ask(Ask::StopIfIdle);
    assert_eq!(scene.public(), PublicState::Draining);
    scene.ask(Ask::Demand);
    assert_eq!(scene.incarnation(), (PublicState::Ready, 1));
}

#[test]
fn what_is_busy_is_not_stopped_for_being_idle() {
    let mut scene = Scene::ready();
    scene.ask(Ask::StopIfIdle);
    scene.tell(Message::Busy);
    assert_eq!(scene.incarnation(), (PublicState::Ready, 1));
    scene.ask(Ask::StopIfIdle);
    scene.sleep();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 1));
}

#[test]
fn an_idle_server_is_stopped_and_started_by_the_next_request() {
    let mut scene = Scene::ready();
    scene.ask(Ask::StopIfIdle);
    scene.behave();
    let view = scene.world.state.view();
    assert_eq!((view.state, view.reason), (PublicState::Stopped, "idle"));
    scene.ask(Ask::Demand);
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
}

#[test]
fn an_operators_stop_of_an_idle_server_does_not_ask_whether_it_is_idle() {
    for (ask, state) in [
        (Ask::Stop, (PublicState::Stopped, 1)),
        (Ask::Restart, (PublicState::Ready, 2)),
        (Ask::Replace, (PublicState::Stopped, 1)),
    ] {
        let mut scene = Scene::ready();
        scene.ask(Ask::StopIfIdle);
        scene.ask(ask);
        assert!(!scene.world.environment.may_be_busy, "{ask:?}");
        scene.behave();
        assert_eq!(scene.incarnation(), state, "{ask:?}");
    }
}

#[test]
fn nothing_but_what_serves_can_be_idle() {
    for mut scene in [Scene::started(), Scene::loading()] {
        let before = scene.world.state.clone();
        scene.ask(Ask::StopIfIdle);
        assert_eq!(scene.world.state, before);
    }
}

#[test]
fn a_request_joins_a_backoff_and_does_not_skip_it() {
    let mut scene = Scene::loading();
    scene.tell(Message::Exited(Fault::Crash));
    scene.ask(Ask::Demand);
    scene.tell(Message::Gone);
    scene.ask(Ask::Demand);
    assert_eq!(scene.public(), PublicState::Backoff);
    scene.sleep();
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
}

/// R4.
#[test]
fn what_only_requests_want_has_its_trial_at_the_first_request_after_it_is_due() {
    let mut scene = Scene::of(World::new(Policy::default()));
    scene.ask(Ask::Demand);
    for _ in 0..4 {
        scene.fail_to_start();
        scene.sleep();
    }
    scene.fail_to_start();
    assert_eq!(scene.incarnation(), (PublicState::Failed, 5));
    scene.pass(Duration::from_secs(299));
    scene.ask(Ask::Demand);
    assert_eq!(scene.public(), PublicState::Failed);
    scene.pass(Duration::from_secs(1_000));
    assert_eq!(scene.public(), PublicState::Failed);
    scene.ask(Ask::Demand);
    scene.fail_to_start();
    assert_eq!(scene.incarnation(), (PublicState::Failed, 6));
}

#[test]
fn what_is_swapped_out_finishes_and_comes_back_for_what_was_asked_meanwhile() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Swap);
    assert!(!scene.world.environment.may_be_busy);
    scene.ask(Ask::Demand);
    assert_eq!(scene.incarnation(), (PublicState::Draining, 1));
    assert_eq!(scene.world.state.view().reason, "swapped");
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
}

#[test]
fn what_is_swapped_out_and_not_asked_for_again_is_stopped_and_says_why() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Swap);
    scene.behave();
    let view = scene.world.state.view();
    assert_eq!((view.state, view.reason), (PublicState::Stopped, "swapped"));
}

#[test]
fn nothing_but_what_serves_is_swapped_out() {
    for mut scene in [Scene::started(), Scene::loading()] {
        let before = scene.world.state.clone();
        scene.ask(Ask::Swap);
        assert_eq!(scene.world.state, before);
    }
}
