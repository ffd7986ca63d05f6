//! The end of magid, when servers do not want to end.

use std::path::Path;
use std::time::Duration;

use magi_proto::v1::ServerState;
use magi_tests::figure;
use magi_tests::harness::{Chat, Fleet, Percentiles, Server, bar, full, llama_server};
use nix::sys::signal::Signal;
use tokio::time::Instant;

/// R14: servers that end at once, real ones among them, servers that ignore SIGTERM, and servers that
/// are in the middle of answers which outlast every patience.
#[tokio::test]
async fn r14_fifty_servers_are_gone_in_time() {
    let Some(program) = llama_server() else {
        return;
    };
    let (drain, stop) = (Duration::from_secs(2), Duration::from_secs(1));
    let mut fleet = Fleet::new();
    fleet.set("llama_server.drain_timeout", "2s");
    fleet.set("llama_server.stop_timeout", "1s");
    let servers: Vec<_> = (0..50).map(|n| one_of_fifty(n, &program)).collect();
    fleet.save(&servers);
    let mut times = Percentiles::default();
    for _ in 0..full(1, 10) {
        fleet.start().await;
        let servers = fleet.all_ready(50).await;
        let mut answers = Vec::new();
        for server in servers.values().filter(|s| s.name.starts_with("slow")) {
            let mut answer = Chat::start(server.endpoint(), 10_000).await.unwrap();
            answer.next().await.unwrap();
            answers.push(answer);
        }
        let begin = Instant::now();
        assert!(fleet.terminate().await.success());
        times.add(begin.elapsed());
        assert_eq!(fleet.processes(), Vec::<u32>::new());
        assert!(!fleet.socket().exists());
    }
    figure!("R14: 50 servers were gone after: {times}");
    let bound = drain + stop + bar(Duration::from_secs(2));
    assert!(times.worst() < bound, "{times}");
}

fn one_of_fifty(n: usize, program: &Path) -> Server {
    match n % 5 {
        0 => Server::real(&format!("real{n}"), program).set("ctx_size", 256),
        1 => Server::faulty(&format!("stubborn{n}")).fault("ignore-sigterm"),
        2 => Server::faulty(&format!("slow{n}")).fault("token-time=50ms"),
        3 => Server::faulty(&format!("slow-and-stubborn{n}"))
            .fault("token-time=50ms")
            .fault("ignore-sigterm"),
        _ => Server::faulty(&format!("plain{n}")),
    }
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
