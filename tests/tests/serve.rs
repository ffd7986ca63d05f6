//! The main job: real llama-servers on real models, driven by the real magictl.

use magi_proto::v1::ServerState;
use magi_tests::harness::{Fleet, Server, chat, llama_server};
use nix::sys::signal::Signal;

/// A fleet of real servers that are all ready.
async fn real_fleet(names: &[&str]) -> Option<Fleet> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    let servers: Vec<_> = names
        .iter()
        .map(|name| Server::real(name, &program).set("ctx_size", 1024))
        .collect();
    fleet.save(&servers);
    fleet.start().await;
    fleet.all_ready(names.len()).await;
    Some(fleet)
}

#[tokio::test]
async fn each_model_says_its_own_name() {
    let Some(mut fleet) = real_fleet(&["alpha", "beta", "gamma"]).await else {
        return;
    };
    for server in fleet.status().await.servers {
        let answer = chat(server.endpoint()).await.unwrap();
        assert!(answer.contains(&server.name), "{answer}");
    }
}

#[tokio::test]
async fn an_edit_replaces_exactly_the_server_that_it_changes() {
    let Some(mut fleet) = real_fleet(&["alpha", "beta"]).await else {
        return;
    };
    let program = llama_server().unwrap();
    let before = fleet.all_ready(2).await;
    fleet.save(&[
        Server::real("alpha", &program).set("ctx_size", 2048),
        Server::real("beta", &program).set("ctx_size", 1024),
    ]);
    let alpha = fleet.ready_again(&before["alpha"]).await;
    let beta = fleet.ready("beta").await;
    assert_ne!(alpha.pid, before["alpha"].pid);
    assert_eq!(beta.pid, before["beta"].pid);
    assert!(chat(alpha.endpoint()).await.unwrap().contains("alpha"));
}

#[tokio::test]
async fn a_killed_server_comes_back_and_says_what_happened() {
    let Some(mut fleet) = real_fleet(&["alpha"]).await else {
        return;
    };
    let before = fleet.ready("alpha").await;
    magi_tests::harness::send(before.pid(), Signal::SIGKILL);
    let exited = fleet
        .event("alpha exited", |event| event.kind == "server-exited")
        .await;
    assert_eq!(exited.reason, "signal");
    let after = fleet.ready_again(&before).await;
    assert_eq!(after.restarts, 1);
    assert_eq!(after.last_exit.unwrap().signal, Some(9));
    assert!(
        chat(&after.endpoint.unwrap())
            .await
            .unwrap()
            .contains("alpha")
    );
}

#[tokio::test]
async fn magictl_stops_starts_and_restarts() {
    let Some(mut fleet) = real_fleet(&["alpha", "beta"]).await else {
        return;
    };
    let before = fleet.all_ready(2).await;
    fleet.magictl(&["stop", "beta"]).await.expect_code(0);
    fleet.magictl(&["status", "beta"]).await.expect_code(3);
    fleet.magictl(&["status"]).await.expect_code(0);
    fleet.magictl(&["start", "beta"]).await.expect_code(0);
    fleet.magictl(&["status", "beta"]).await.expect_code(0);
    fleet.magictl(&["restart", "alpha"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    assert_ne!(after["alpha"].pid, before["alpha"].pid);
    assert_ne!(after["beta"].pid, before["beta"].pid);
    let unknown = fleet.magictl(&["stop", "bet"]).await.expect_code(4);
    assert!(unknown.stderr.contains("beta"), "{unknown:?}");
}

#[tokio::test]
async fn status_is_json_that_scripts_can_rely_on() {
    let Some(fleet) = real_fleet(&["alpha"]).await else {
        return;
    };
    let status = fleet
        .magictl(&["status", "-o", "json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(status["config"]["state"], "applied");
    let server = &status["servers"][0];
    assert_eq!(server["name"], "alpha");
    assert_eq!(server["state"], "ready");
    assert!(server["pid"].is_u64());
    assert!(server["memory"].as_u64().unwrap() > 1_000_000);
    assert!(server["lastExit"].is_null());
    assert!(server.as_object().unwrap().contains_key("nextTry"));
}

#[tokio::test]
async fn explain_shows_the_exact_command_line_and_no_secret() {
    let program = llama_server();
    let Some(program) = program else { return };
    let mut fleet = Fleet::new();
    let server = Server::real("alpha", &program).set("ctx_size", 1024);
    fleet.save(&[server]);
    let mut text = std::fs::read_to_string(fleet.profile_path()).unwrap();
    text += "env = { MY_API_TOKEN = \"hunter2\", PLAIN = \"seen\" }\n";
    fleet.save_text(&text);
    fleet.start().await;
    fleet.ready("alpha").await;
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(
        explained.stdout.contains("--ctx-size 1024"),
        "{explained:?}"
    );
    assert!(explained.stdout.contains("seen"));
    assert!(!explained.all().contains("hunter2"));
}

#[tokio::test]
async fn logs_show_what_the_server_wrote() {
    let Some(fleet) = real_fleet(&["alpha"]).await else {
        return;
    };
    let logs = fleet
        .magictl(&["logs", "alpha", "-n", "100"])
        .await
        .expect_code(0);
    assert!(logs.stdout.contains("model loaded"), "{logs:?}");
    let gone = fleet
        .magictl(&["logs", "alpha", "--incarnation", "99"])
        .await;
    gone.expect_code(4);
}

#[tokio::test]
async fn a_stop_waits_for_the_answer_that_is_under_way() {
    let Some(mut fleet) = real_fleet(&["alpha"]).await else {
        return;
    };
    let alpha = fleet.ready("alpha").await;
    let mut stream = magi_tests::harness::Chat::start(alpha.endpoint(), 300)
        .await
        .unwrap();
    stream.next().await.unwrap();
    let (stopped, rest) = tokio::join!(fleet.magictl(&["stop", "alpha"]), stream.rest());
    stopped.expect_code(0);
    assert!(rest.unwrap().contains("[DONE]"));
    fleet.state("alpha", ServerState::Stopped).await;
}

#[tokio::test]
async fn sigterm_leaves_nothing_behind() {
    let Some(mut fleet) = real_fleet(&["alpha", "beta", "gamma"]).await else {
        return;
    };
    let status = fleet.terminate().await;
    assert!(status.success());
    assert_eq!(fleet.processes(), Vec::<u32>::new());
    assert!(!fleet.socket().exists());
}

#[tokio::test]
async fn survivors_of_a_killed_magid_are_ended_before_their_endpoints_are_used_again() {
    let Some(mut fleet) = real_fleet(&["alpha", "beta"]).await else {
        return;
    };
    let before = fleet.all_ready(2).await;
    fleet.kill().await;
    let survivors: Vec<u32> = before.values().map(|server| server.pid()).collect();
    assert!(
        survivors
            .iter()
            .all(|&pid| magi_tests::harness::is_alive(pid))
    );
    fleet.start().await;
    let after = fleet.all_ready(2).await;
    assert!(
        !survivors
            .iter()
            .any(|&pid| magi_tests::harness::is_alive(pid))
    );
    for (name, server) in &after {
        assert_eq!(server.endpoint, before[name].endpoint);
        assert!(server.incarnation > before[name].incarnation);
    }
}
