//! How servers end: what is noticed, what is killed, and what is never touched.

use std::time::Duration;

use magi_proto::v1::{Event, ServerState, StopServersRequest, WatchEventsRequest};
use magi_tests::figure;
use magi_tests::harness::{
    Bystander, Fleet, Freezer, Percentiles, Server, bar, full, llama_server, send, skipped,
};
use nix::sys::signal::Signal;
use tokio::time::Instant;
use tonic::Streaming;

async fn follow_events(fleet: &Fleet) -> Streaming<magi_proto::v1::WatchEventsResponse> {
    let request = WatchEventsRequest {
        last: Some(0),
        follow: true,
        servers: Vec::new(),
    };
    let stream = fleet.daemon().watch_events(request).await.unwrap();
    stream.into_inner()
}

async fn next_event(
    stream: &mut Streaming<magi_proto::v1::WatchEventsResponse>,
    kind: &str,
) -> Event {
    loop {
        let message = stream.message().await.unwrap().unwrap();
        if let Some(event) = message.events.into_iter().find(|e| e.kind == kind) {
            return event;
        }
    }
}

#[tokio::test]
async fn r01_a_crash_is_noticed_at_once() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "10ms");
    fleet.set("restart.max_delay", "10ms");
    fleet.set("restart.max_failures", 1000);
    fleet.save(&[Server::real("alpha", &program).set("ctx_size", 512)]);
    fleet.start().await;
    let mut events = follow_events(&fleet).await;
    let mut times = Percentiles::default();
    let mut alpha = fleet.ready("alpha").await;
    for _ in 0..full(10, 200) {
        let begin = Instant::now();
        send(alpha.pid(), Signal::SIGKILL);
        let event = next_event(&mut events, "server-exited").await;
        times.add(begin.elapsed());
        assert_eq!(event.incarnation, alpha.incarnation);
        alpha = fleet.ready_again(&alpha).await;
    }
    figure!("R1: from SIGKILL to the event at a client: {times}");
    assert!(times.p99() <= bar(Duration::from_millis(50)), "{times}");
}

#[tokio::test]
async fn r10_a_server_that_ignores_sigterm_is_gone_after_its_grace() {
    let grace = Duration::from_millis(500);
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "500ms");
    fleet.save(&[Server::faulty("alpha").fault("ignore-sigterm")]);
    fleet.start().await;
    let mut times = Percentiles::default();
    for _ in 0..full(3, 100) {
        let alpha = fleet.ready("alpha").await;
        let begin = Instant::now();
        fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
        times.add(begin.elapsed());
        assert_eq!(fleet.processes(), Vec::<u32>::new());
        let exit = fleet.status().await.servers.remove(0).last_exit.unwrap();
        assert_eq!(
            (Some(exit.incarnation), exit.signal),
            (alpha.incarnation, Some(9))
        );
        fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    }
    figure!("R10: with a grace of {grace:?} it was gone after: {times}");
    assert!(times.worst() >= grace);
    assert!(
        times.worst() <= grace + bar(Duration::from_secs(1)),
        "{times}"
    );
}

#[tokio::test]
async fn r10_a_stopped_process_ends_by_sigterm_like_any_other() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.save(&[Server::real("alpha", &program).set("ctx_size", 512)]);
    fleet.start().await;
    let mut times = Percentiles::default();
    for _ in 0..full(2, 20) {
        let alpha = fleet.ready("alpha").await;
        send(alpha.pid(), Signal::SIGSTOP);
        let begin = Instant::now();
        fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
        times.add(begin.elapsed());
        let exit = fleet.status().await.servers.remove(0).last_exit.unwrap();
        assert_eq!((exit.class.as_str(), exit.code), ("requested", Some(0)));
        fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    }
    figure!("R10: a stopped llama-server ended after: {times}");
}

#[tokio::test]
async fn r11_a_grandchild_in_a_session_of_its_own_is_gone_before_stopped_is_shown() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").fault("grandchild")]);
    fleet.start().await;
    for _ in 0..full(3, 100) {
        fleet.ready("alpha").await;
        assert!(fleet.processes().len() >= 2);
        fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
        assert_eq!(fleet.processes(), Vec::<u32>::new());
        fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    }
}

#[tokio::test]
async fn r12_what_does_not_die_stays_stopping_and_holds_up_nobody() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "200ms");
    fleet.save(&[Server::faulty("alpha"), Server::faulty("beta")]);
    fleet.start().await;
    let alpha = fleet.all_ready(2).await["alpha"].clone();
    let Some(frozen) = Freezer::freeze(&[alpha.pid()]) else {
        return skipped("only root can freeze processes, by the freezer of cgroup v1");
    };
    let stop = StopServersRequest {
        names: vec!["alpha".to_owned()],
        ..StopServersRequest::default()
    };
    fleet.servers().stop_servers(stop).await.unwrap();
    let stuck = fleet
        .wait_for("alpha", "says what does not die", |server| {
            server.state() == ServerState::Stopping && server.detail.contains("not gone")
        })
        .await;
    assert_eq!(stuck.pid, alpha.pid);
    let pid = format!("pid {}", alpha.pid());
    assert!(stuck.detail.contains(&pid), "{stuck:?}");

    // A start cannot make a second incarnation beside it.
    let start = ["start", "alpha", "--timeout", "500ms"];
    fleet.magictl(&start).await.expect_code(75);
    assert_eq!(fleet.processes().len(), 2);
    let begin = Instant::now();
    fleet.magictl(&["restart", "beta"]).await.expect_code(0);
    figure!(
        "R12: beside it another server was restarted in {:?}",
        begin.elapsed()
    );

    drop(frozen);
    let again = fleet.ready_again(&alpha).await;
    assert_eq!(again.incarnation, Some(2));
}

#[tokio::test]
async fn r12_magid_ends_although_something_does_not_die_and_says_what() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "200ms");
    fleet.save(&[Server::faulty("alpha"), Server::faulty("beta")]);
    fleet.start().await;
    let alpha = fleet.all_ready(2).await["alpha"].clone();
    let Some(frozen) = Freezer::freeze(&[alpha.pid()]) else {
        return skipped("only root can freeze processes, by the freezer of cgroup v1");
    };
    assert_eq!(fleet.terminate().await.code(), Some(1));
    assert!(fleet.output().contains("something is left of alpha"));
    // The next one finds it, and begins nothing beside it.
    fleet.start().await;
    fleet.ready("beta").await;
    let left = fleet.state("alpha", ServerState::Stopping).await;
    assert_eq!((left.reason.as_str(), left.pid), ("survived", alpha.pid));
    drop(frozen);
    assert_ne!(fleet.ready("alpha").await.pid, alpha.pid);
}

#[tokio::test]
async fn r18_whoever_has_the_pid_of_a_server_that_is_gone_is_left_alone() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    let rounds = full(3, 100);
    for _ in 0..rounds {
        fleet.start().await;
        let alpha = fleet.ready("alpha").await;
        // It dies while no magid sees it: the record that is left names a pid that is free.
        fleet.kill().await;
        send(alpha.pid(), Signal::SIGKILL);
        let Some(bystander) = Bystander::with_pid(alpha.pid()).await else {
            return skipped("only root can choose pids, by ns_last_pid");
        };
        fleet.start().await;
        let again = fleet.ready("alpha").await;
        assert_ne!(again.pid, alpha.pid);
        fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
        fleet.magictl(&["start", "alpha"]).await.expect_code(0);
        fleet.terminate().await;
        assert!(bystander.is_alive());
    }
    figure!("R18: a stranger had the pid of a dead server {rounds} times, and lived");
}
