//! The end of magid, when servers do not want to end.

use std::time::Duration;

use magi_proto::v1::ServerState;
use magi_tests::harness::{Fleet, Server, full};
use nix::sys::signal::Signal;
use tokio::time::Instant;

/// R14, with fewer servers in the short run.
#[tokio::test]
async fn r14_a_fleet_of_stubborn_servers_is_gone_in_time() {
    let count = full(8, 30);
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "1s");
    let servers: Vec<_> = (0..count)
        .map(|n| Server::faulty(&format!("s{n:02}")).fault("ignore-sigterm"))
        .collect();
    fleet.save(&servers);
    fleet.start().await;
    fleet.all_ready(count).await;
    let begin = Instant::now();
    assert!(fleet.terminate().await.success());
    let took = begin.elapsed();
    println!("R14: {count} servers that ignore SIGTERM were gone after {took:?}");
    assert_eq!(fleet.processes(), Vec::<u32>::new());
    assert!(!fleet.socket().exists());
    // The longest stop (1 s) and 2 s.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_second_signal_shortens_the_end() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "10m");
    fleet.save(&[Server::faulty("alpha").fault("ignore-sigterm")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    fleet.signal(Signal::SIGTERM);
    fleet.state("alpha", ServerState::Stopping).await;
    fleet.signal(Signal::SIGINT);
    assert!(fleet.ended().await.success());
    assert_eq!(fleet.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn while_it_ends_magid_takes_no_more_commands() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "10m");
    fleet.save(&[Server::faulty("alpha").fault("ignore-sigterm")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    fleet.signal(Signal::SIGTERM);
    fleet.state("alpha", ServerState::Stopping).await;
    fleet.magictl(&["start", "alpha"]).await.expect_code(75);
    fleet.magictl(&["reload"]).await.expect_code(75);
    fleet.magictl(&["status"]).await.expect_code(0);
    fleet.signal(Signal::SIGTERM);
    fleet.ended().await;
}

#[tokio::test]
async fn magictl_ends_the_daemon() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    fleet.magictl(&["daemon", "stop"]).await.expect_code(0);
    assert!(fleet.ended().await.success());
    fleet.magictl(&["status"]).await.expect_code(69);
}

#[tokio::test]
async fn a_program_that_is_no_llama_server_fails_and_magid_is_up() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "10ms");
    fleet.save(&[
        Server::faulty("alpha").set("llama_server", "/bin/true"),
        Server::faulty("beta"),
    ]);
    fleet.start().await;
    fleet.ready("beta").await;
    let alpha = fleet.state("alpha", ServerState::Failed).await;
    assert!(alpha.detail.contains("exited with status 0"), "{alpha:?}");
}
