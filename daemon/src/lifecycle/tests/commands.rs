//! What is asked of a server while something else is under way.

use super::*;

#[test]
fn a_stop_while_a_process_is_being_made_ends_it_once_it_is_there() {
    let mut scene = Scene::started();
    scene.tell(Message::Turn);
    scene.ask(Ask::Stop);
    assert_eq!(scene.public(), PublicState::Starting);
    scene.tell(Message::Spawned);
    assert_eq!(scene.public(), PublicState::Stopping);
    scene.behave();
    assert_eq!(scene.public(), PublicState::Stopped);
}

#[test]
fn a_start_while_it_drains_for_a_stop_calls_the_drain_off() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Stop);
    assert_eq!(scene.public(), PublicState::Draining);
    scene.ask(Ask::Start);
    assert_eq!(scene.incarnation(), (PublicState::Ready, 1));
}

#[test]
fn a_changed_definition_is_not_forgotten_by_a_start_while_it_drains() {
    for asked in [
        [Ask::Stop, Ask::Replace, Ask::Start],
        [Ask::Replace, Ask::Stop, Ask::Start],
        [Ask::Restart, Ask::Stop, Ask::Start],
    ] {
        let mut scene = Scene::ready();
        for ask in asked {
            scene.ask(ask);
        }
        assert_eq!(scene.public(), PublicState::Draining);
        scene.behave();
        assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
    }
}

#[test]
fn a_changed_definition_gives_up_a_start_that_is_under_way() {
    let mut scene = Scene::loading();
    scene.ask(Ask::Replace);
    assert_eq!(scene.public(), PublicState::Stopping);
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
}

#[test]
fn a_start_while_it_stops_follows_the_end_of_the_old_tree() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Stop);
    scene.sleep();
    scene.ask(Ask::Start);
    assert_eq!(scene.public(), PublicState::Stopping);
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
}

#[test]
fn a_start_does_not_end_with_the_failure_of_what_it_replaces() {
    let mut spawning = Scene::started();
    spawning.tell(Message::Turn);
    let mut draining = Scene::ready();
    for scene in [&mut spawning, &mut draining] {
        scene.ask(Ask::SetMode(RestartMode::Never));
        scene.ask(Ask::Stop);
        scene.ask(Ask::Replace);
        scene.ask(Ask::Start);
    }
    spawning.tell(Message::SpawnFailed(Fault::Crash));
    draining.end(Fault::Crash);
    for scene in [&mut spawning, &mut draining] {
        assert_eq!(scene.public(), PublicState::Starting);
        scene.behave();
        assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
    }
}

#[test]
fn a_hurry_cuts_drain_and_grace_short() {
    let mut scene = Scene::ready();
    scene.ask(Ask::Stop);
    scene.ask(Ask::Hurry);
    assert!(scene.world.environment.killing);
    scene.end(Fault::Crash);
    assert_eq!(scene.public(), PublicState::Stopped);
}

#[test]
fn a_survivor_is_ended_before_anything_is_started() {
    let mut scene = Scene::of(World::with_survivor(Policy::default(), false));
    assert!(scene.world.environment.terminated);
    scene.ask(Ask::Start);
    assert_eq!(scene.incarnation(), (PublicState::Stopping, 3));
    assert_eq!(scene.world.actions, []);
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 4));
}

#[test]
fn a_survivor_that_gateways_know_is_drained_first_and_never_taken_up_again() {
    let mut scene = Scene::of(World::with_survivor(Policy::default(), true));
    assert_eq!(scene.incarnation(), (PublicState::Draining, 3));
    scene.ask(Ask::Start);
    assert_eq!(scene.incarnation(), (PublicState::Draining, 3));
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 4));
}
