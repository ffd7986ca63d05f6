//! What systemd is told, on a socket of the test's.

use magi_tests::harness::{Fleet, NotifySocket, Server};

#[tokio::test]
async fn systemd_is_told_of_ready_status_reloads_and_life() {
    let mut fleet = Fleet::new();
    let mut socket = NotifySocket::bind(&fleet.path("notify"));
    fleet.env("NOTIFY_SOCKET", socket.path().to_owned());
    fleet.env("WATCHDOG_USEC", "400000");
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let says = |what: &'static str| {
        move |message: &str| message.lines().any(|line| line.starts_with(what))
    };
    socket.next("says READY=1", says("READY=1")).await;
    socket
        .next("has a STATUS", says("STATUS=1 server: 1 ready"))
        .await;
    socket.next("is a sign of life", says("WATCHDOG=1")).await;
    socket
        .next("is another sign of life", says("WATCHDOG=1"))
        .await;

    let text = std::fs::read_to_string(fleet.profile_path()).unwrap();
    fleet.save_text(&format!("{text}nonsense = 1\n"));
    fleet.magictl(&["reload"]).await.expect_code(78);
    let reloading = socket.next("says RELOADING=1", says("RELOADING=1")).await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    socket.next("ends the failed reload", says("READY=1")).await;

    fleet.terminate().await;
    socket.next("says STOPPING=1", says("STOPPING=1")).await;
}

#[tokio::test]
async fn the_servers_are_not_told_about_systemd() {
    let mut fleet = Fleet::new();
    let socket = NotifySocket::bind(&fleet.path("notify"));
    fleet.env("NOTIFY_SOCKET", socket.path().to_owned());
    fleet.env("LLAMA_ARG_CTX_SIZE", "7");
    fleet.env("HF_TOKEN", "secret");
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let environ = std::fs::read(format!("/proc/{}/environ", alpha.pid())).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    for name in ["NOTIFY_SOCKET=", "LLAMA_ARG_CTX_SIZE=", "HF_TOKEN="] {
        assert!(!environ.contains(name), "{environ}");
    }
    assert!(environ.contains("MAGI_INCARNATION_TOKEN="));
}
