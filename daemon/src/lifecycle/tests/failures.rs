//! What follows a failure.

use super::*;
use crate::lifecycle::policy::RestartPolicy;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// R8.
#[test]
fn a_stuck_start_goes_down_the_ladder_and_is_one_failure() {
    let mut scene = Scene::loading();
    scene.sleep();
    assert_eq!(scene.public(), PublicState::Stopping);
    scene.sleep();
    assert!(scene.world.environment.killing);
    scene.end(Fault::Crash);
    assert_eq!(scene.public(), PublicState::Backoff);
    let (state, now) = (&scene.world.state, scene.world.now);
    let policy = RestartPolicy::default();
    assert_eq!(state.history.failures(&policy, now), 1);
    let last = state.last_exit.as_ref().unwrap();
    assert_eq!(last.exit.class, ExitClass::StartupTimeout);
}

#[test]
fn a_start_that_gets_on_is_not_cut_short() {
    let mut scene = Scene::loading();
    for _ in 0..100 {
        scene.pass(seconds(100));
        scene.tell(Message::Progress);
    }
    assert_eq!(scene.public(), PublicState::Starting);
}

/// R6.
#[test]
fn a_permanent_cause_fails_at_once_and_heals() {
    let mut scene = Scene::loading();
    scene.end(Fault::BadModel);
    assert_eq!(scene.public(), PublicState::Failed);
    assert_eq!(scene.world.state.deadline(), None);
    scene.tell(Message::Healed);
    scene.behave();
    assert_eq!((scene.public(), scene.restarts()), (PublicState::Ready, 0));
}

/// R4.
#[test]
fn the_breaker_opens_and_lets_one_trial_through_by_timer() {
    let mut scene = Scene::started();
    for _ in 0..4 {
        scene.fail_to_start();
        assert_eq!(scene.public(), PublicState::Backoff);
        scene.sleep();
    }
    scene.fail_to_start();
    assert_eq!(scene.incarnation(), (PublicState::Failed, 5));
    scene.pass(seconds(299));
    assert_eq!(scene.incarnation(), (PublicState::Failed, 5));
    scene.sleep();
    scene.fail_to_start();
    assert_eq!(scene.incarnation(), (PublicState::Failed, 6));
    scene.ask(Ask::Start);
    scene.behave();
    assert_eq!((scene.public(), scene.restarts()), (PublicState::Ready, 0));
}

#[test]
fn the_second_try_of_a_taken_port_is_no_trial_of_the_breaker() {
    let mut scene = Scene::loading();
    scene.end(Fault::PortTaken);
    assert_eq!(scene.public(), PublicState::Failed);
    scene.sleep();
    scene.fail_to_start();
    assert_eq!(scene.public(), PublicState::Backoff);
}

/// R5.
#[test]
fn a_failed_spawn_is_a_failure_like_any_other() {
    let mut scene = Scene::started();
    for failures in 1..=5 {
        scene.tell(Message::Turn);
        scene.tell(Message::SpawnFailed(Fault::Crash));
        if failures < 5 {
            scene.sleep();
        }
    }
    assert_eq!(scene.public(), PublicState::Failed);
}

/// R3.
#[test]
fn only_time_ready_makes_the_waits_short_again() {
    let mut policy = Policy::default();
    policy.restart.max_failures = 100;
    let mut scene = Scene::started_with(policy.clone());
    for _ in 0..5 {
        scene.tell(Message::Turn);
        scene.tell(Message::Spawned);
        scene.pass(seconds(110));
        scene.end(Fault::Crash);
        scene.sleep();
    }
    let history = &scene.world.state.history;
    assert_eq!(history.next_delay(&policy.restart), seconds(16));
    scene.behave();
    scene.pass(seconds(600));
    scene.end(Fault::Crash);
    let history = &scene.world.state.history;
    assert_eq!(history.next_delay(&policy.restart), seconds(1));
}

#[test]
fn the_policy_decides_what_an_exit_with_status_0_is() {
    for (mode, state) in [
        (RestartMode::Always, PublicState::Backoff),
        (RestartMode::OnFailure, PublicState::Stopped),
        (RestartMode::Never, PublicState::Stopped),
    ] {
        let mut scene = Scene::with_mode(mode);
        scene.end(Fault::None);
        assert_eq!(scene.public(), state);
    }
}

#[test]
fn a_hung_server_that_obeys_with_status_0_has_failed_all_the_same() {
    for (mode, state) in [
        (RestartMode::OnFailure, PublicState::Backoff),
        (RestartMode::Never, PublicState::Failed),
    ] {
        let mut scene = Scene::with_mode(mode);
        scene.tell(Message::Hung);
        scene.end(Fault::None);
        assert_eq!(scene.public(), state);
    }
}

#[test]
fn policy_never_leaves_a_crash_as_it_is() {
    let mut scene = Scene::with_mode(RestartMode::Never);
    scene.end(Fault::Crash);
    assert_eq!(
        (scene.public(), scene.world.state.deadline()),
        (PublicState::Failed, None)
    );
}

#[test]
fn a_server_that_was_left_as_it_is_starts_when_the_policy_allows_it() {
    let mut scene = Scene::with_mode(RestartMode::Never);
    scene.end(Fault::Crash);
    scene.ask(Ask::SetMode(RestartMode::OnFailure));
    scene.behave();
    assert_eq!(scene.incarnation(), (PublicState::Ready, 2));
    assert_eq!(scene.restarts(), 0);
}

#[test]
fn a_policy_that_becomes_never_ends_the_wait_for_the_next_try() {
    for fault in [Fault::Crash, Fault::PortTaken, Fault::BadModel] {
        let mut scene = Scene::ready();
        scene.end(fault);
        scene.ask(Ask::SetMode(RestartMode::Never));
        let view = scene.world.state.view();
        assert_eq!((view.state, view.next_try), (PublicState::Failed, None));
        assert!(view.detail.starts_with("the restart policy is"));
    }
}

impl Scene {
    /// A ready server with this restart policy.
    fn with_mode(mode: RestartMode) -> Self {
        let mut policy = Policy::default();
        policy.restart.mode = mode;
        let mut scene = Self::started_with(policy);
        scene.behave();
        scene
    }
}
