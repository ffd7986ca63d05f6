//! `magictl check` and `magictl ports` beside a magid that runs real llama-servers.

use std::net::TcpListener;

use magi_tests::harness::{Fleet, Server, llama_server, send};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The findings of a check.
fn findings<'v>(report: &'v Value, check: &str) -> Vec<&'v Value> {
    let all = report["checks"].as_array().expect("a list").iter();
    all.filter(|finding| finding["check"] == check).collect()
}

#[tokio::test]
async fn a_fleet_that_runs_passes_every_check_and_each_server_makes_what_it_is_for() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.set("llama_server.path", program.display().to_string());
    fleet.save(&[
        Server::real("alpha", &program).set("ctx_size", 512),
        Server::real("beta", &program)
            .set("ctx_size", 512)
            .set("embeddings", true)
            .set("port", fleet.port(0)),
    ]);
    fleet.start().await;
    fleet.all_ready(2).await;
    let report = fleet.magictl(&["check", "--live", "-o", "json"]).await;
    let report = report.expect_code(0).json();
    assert_eq!(report["ok"], true, "{report:#}");
    let made: Vec<_> = findings(&report, "live")
        .iter()
        .map(|finding| finding["what"].to_string())
        .collect();
    assert!(made[0].contains("alpha made a token in "), "{made:?}");
    assert!(made[1].contains("beta made an embedding in "), "{made:?}");
    let ports = fleet
        .magictl(&["ports", "-o", "json"])
        .await
        .expect_code(0)
        .json();
    let listening = ports["ports"].as_array().expect("a list").iter();
    let listening: Vec<_> = listening
        .filter(|port| port["state"] == "listening")
        .collect();
    assert_eq!(listening.len(), 2, "{ports:#}");
    assert_eq!(listening[1]["owner"], "beta");
    assert_eq!(listening[1]["port"], fleet.port(0));
}

#[tokio::test]
async fn a_server_that_asks_for_a_key_is_asked_with_it() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.set("llama_server.api_key", "auto");
    fleet.save(&[Server::real("alpha", &program).set("ctx_size", 512)]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let report = fleet.magictl(&["check", "--live", "-o", "json"]).await;
    let report = report.json();
    let live = findings(&report, "live")[0];
    assert_eq!(live["level"], "ok", "{live:#}");
}

#[tokio::test]
async fn servers_that_outlived_their_magid_are_no_strangers() {
    let mut fleet = Fleet::new();
    let port = fleet.port(0);
    fleet.save(&[Server::faulty("alpha").set("port", port)]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    fleet.kill().await;
    let config = fleet.config_path();
    let args = [
        "ports",
        "-o",
        "json",
        "--config",
        config.to_str().expect("UTF-8"),
    ];
    let ports = fleet.magictl(&args).await.expect_code(0).json();
    let row = ports["ports"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|row| row["port"] == port);
    let row = row.expect("its port is there");
    assert_eq!(
        (&row["server"], &row["pid"]),
        (&"alpha".into(), &alpha.pid().into())
    );
}

#[tokio::test]
async fn an_edit_that_cannot_work_is_told_before_it_is_made() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let stranger = TcpListener::bind(("127.0.0.1", fleet.port(1))).expect("the port is ours");
    let other = fleet.path("profiles").join("other.toml");
    std::fs::write(&other, "[servers.beta]\nmodle = \"x\"\n").expect("the directory is writable");
    let refused = fleet.magictl(&["check", "other"]).await.expect_code(78);
    assert!(refused.stdout.contains("other.toml:2:1"), "{refused:?}");
    std::fs::remove_file(other).expect("it was written");
    fleet.save(&[Server::faulty("alpha").set("port", fleet.port(1))]);
    let report = fleet
        .magictl(&["check", "-o", "json"])
        .await
        .expect_code(1)
        .json();
    let conflict = findings(&report, "port-conflicts")[0];
    let holder = format!("pid {}", std::process::id());
    assert!(
        conflict["what"].to_string().contains(&holder),
        "{conflict:#}"
    );
    drop(stranger);
}

#[tokio::test]
async fn a_server_that_answers_nothing_fails_the_live_check() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    send(alpha.pid(), Signal::SIGSTOP);
    let report = fleet
        .magictl(&["check", "--live", "-o", "json"])
        .await
        .json();
    let live = findings(&report, "live")[0];
    assert_eq!(live["level"], "error", "{live:#}");
    assert!(
        live["help"].to_string().contains("magictl explain alpha"),
        "{live:#}"
    );
    send(alpha.pid(), Signal::SIGCONT);
}
