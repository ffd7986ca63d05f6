//! A change of the configuration as a transaction: without a gap, or not at all.

use magi_proto::v1::{ConfigState, ServerState};
use magi_tests::harness::{Fleet, Server, Servers, chat, llama_server, skipped};

async fn started(servers: &[Server]) -> (Fleet, Servers) {
    let mut fleet = Fleet::new();
    fleet.save(servers);
    fleet.start().await;
    let ready = fleet.all_ready(servers.len()).await;
    (fleet, ready)
}

fn broken(server: Server) -> Server {
    server.arg("--bad-flag")
}

fn profile(fleet: &Fleet) -> String {
    std::fs::read_to_string(fleet.profile_path()).unwrap()
}

#[tokio::test]
async fn a_server_is_replaced_without_a_gap() {
    let Some(program) = llama_server() else {
        return skipped("there is no llama-server");
    };
    let real = |name: &str| Server::real(name, &program);
    let (mut fleet, before) = started(&[real("alpha"), real("beta")]).await;
    let old = before["alpha"].clone();
    let endpoint = old.endpoint.clone().unwrap();
    fleet.save(&[real("alpha").set("ctx_size", 512), real("beta")]);
    let mut gone = None;
    let reload = fleet.magictl_command(&["reload", "-o", "json"]).output();
    tokio::pin!(reload);
    let ended = loop {
        tokio::select! {
            ended = &mut reload => break ended.unwrap(),
            answer = chat(&endpoint) => if answer.is_err() {
                // The predecessor drains once its successor serves, never sooner.
                gone.get_or_insert(fleet.status().await);
            },
        }
    };
    assert!(ended.status.success(), "{ended:?}");
    let serves = |server: &magi_proto::v1::Server| {
        server.state() == ServerState::Ready && server.pid != old.pid
    };
    if let Some(status) = gone {
        let alpha = status.servers.iter().find(|server| server.name == "alpha");
        assert!(alpha.is_some_and(serves), "{alpha:?}");
    }
    let after = fleet.all_ready(2).await;
    assert!(serves(&after["alpha"]));
    assert_ne!(after["alpha"].endpoint, old.endpoint);
    assert_eq!(after["beta"].pid, before["beta"].pid);
    let said = chat(after["alpha"].endpoint.as_ref().unwrap()).await;
    assert!(said.unwrap().contains("alpha"));
    magi_tests::harness::wait_gone(old.pid.unwrap(), std::time::Duration::from_secs(20)).await;
}

/// R22, where there is room for both.
#[tokio::test]
async fn r22_a_definition_that_never_gets_ready_leaves_everything_as_it_was() {
    let servers = ["alpha", "beta", "gamma"].map(Server::faulty);
    let (mut fleet, before) = started(&servers).await;
    let [alpha, beta, gamma] = servers;
    fleet.save(&[
        alpha.clone().set("ctx_size", 512),
        broken(beta.clone()),
        gamma.clone(),
    ]);
    let ran = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(ran.all().contains("beta"), "{ran:?}");
    let after = fleet.all_ready(3).await;
    for (name, server) in &before {
        assert_eq!(after[name].pid, server.pid, "{name}");
        assert_eq!(after[name].endpoint, server.endpoint, "{name}");
    }
    let status = fleet.status().await;
    let config = status.config.unwrap();
    assert_eq!(config.state(), ConfigState::Vetoed);
    assert_eq!(config.vetoes[0].server, "beta");
    assert_eq!(config.vetoes[0].reason, "bad-arguments");
    // Mended, it is applied by itself.
    fleet.save(&[alpha.set("ctx_size", 512), beta, gamma]);
    let mended = fleet
        .wait("alpha to be replaced", |servers| {
            servers["alpha"].pid != before["alpha"].pid
                && servers["alpha"].state() == ServerState::Ready
        })
        .await;
    assert_eq!(mended["beta"].pid, before["beta"].pid);
    let status = fleet.status().await;
    assert_eq!(status.config.unwrap().state(), ConfigState::Applied);
}

/// R22, where the port leaves room for one only.
#[tokio::test]
async fn r22_a_server_that_was_stopped_for_its_successor_runs_again_as_it_was() {
    let mut fleet = Fleet::new();
    let alpha = Server::faulty("alpha").set("port", fleet.port(0));
    let beta = Server::faulty("beta");
    fleet.save(&[alpha.clone(), beta.clone()]);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    fleet.save(&[broken(alpha), beta]);
    fleet.magictl(&["reload"]).await.expect_code(1);
    let after = fleet.all_ready(2).await;
    assert_ne!(after["alpha"].pid, before["alpha"].pid);
    assert_eq!(after["alpha"].endpoint, before["alpha"].endpoint);
    assert_eq!(after["beta"].pid, before["beta"].pid);
}

#[tokio::test]
async fn a_new_server_that_fails_is_taken_back() {
    let alpha = Server::faulty("alpha");
    let (mut fleet, before) = started(std::slice::from_ref(&alpha)).await;
    fleet.save(&[alpha, broken(Server::faulty("beta"))]);
    fleet.magictl(&["reload"]).await.expect_code(1);
    let after = fleet.all_ready(1).await;
    assert_eq!(after["alpha"].pid, before["alpha"].pid);
    fleet.magictl(&["status", "beta"]).await.expect_code(4);
    // It is not tried again before it changes, or somebody asks.
    let text = profile(&fleet);
    fleet.save_text(&text);
    fleet.magictl(&["reload"]).await.expect_code(1);
    fleet.save_text("");
    fleet.save_text(&text);
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
}

#[tokio::test]
async fn servers_that_have_all_the_ports_are_replaced_one_after_the_other() {
    let mut fleet = Fleet::new();
    let ports = [fleet.port(1), fleet.port(0)];
    fleet.set("llama_server.port_range", serde_json::json!(ports));
    let servers = ["alpha", "beta"].map(Server::faulty);
    fleet.save(&servers);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    fleet.save(&servers.map(|server| server.set("ctx_size", 512)));
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    for (name, server) in &before {
        assert_ne!(after[name].pid, server.pid, "{name}");
    }
}

#[tokio::test]
async fn a_newer_content_takes_over_from_a_change_in_flight() {
    let alpha = Server::faulty("alpha");
    let (mut fleet, before) = started(std::slice::from_ref(&alpha)).await;
    let slow = alpha.clone().set("ctx_size", 512).fault("load-time=30s");
    fleet.save(&[slow]);
    let first = fleet.magictl_command(&["reload"]).output();
    let first = tokio::spawn(first);
    fleet
        .event("a successor", |event| event.kind == "replacement-state")
        .await;
    fleet.save(&[alpha.clone().set("ctx_size", 1024)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    assert!(first.await.unwrap().unwrap().status.success());
    let after = fleet.all_ready(1).await;
    assert_ne!(after["alpha"].pid, before["alpha"].pid);
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(explained.stdout.contains("1024"), "{explained:?}");
}

#[tokio::test]
async fn magid_killed_while_a_successor_loads_leaves_one_incarnation() {
    let alpha = Server::faulty("alpha");
    let (mut fleet, _) = started(std::slice::from_ref(&alpha)).await;
    fleet.save(&[alpha.clone().set("ctx_size", 512).fault("load-time=30s")]);
    let reload = fleet.magictl_command(&["reload"]).output();
    let reload = tokio::spawn(reload);
    fleet
        .event("a successor", |event| {
            event.kind == "replacement-state" && event.message.contains("loading")
        })
        .await;
    fleet.kill().await;
    let _ = reload.await;
    fleet.save(&[alpha]);
    fleet.start().await;
    fleet.all_ready(1).await;
    let alone = |fleet: &Fleet| fleet.processes().len();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    // magid itself and one llama-server.
    while alone(&fleet) > 2 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            fleet.processes()
        );
        tokio::task::yield_now().await;
    }
}
