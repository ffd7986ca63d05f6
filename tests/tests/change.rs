//! A change of the configuration as a transaction: without a gap, or not at all.

use std::process::Output;

use magi_proto::v1::{ConfigState, Event, GetStatusResponse, ServerState};
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

#[tokio::test]
async fn a_veto_tells_the_last_lines_of_the_incarnation_that_failed() {
    let alpha = Server::faulty("alpha");
    let (fleet, _) = started(std::slice::from_ref(&alpha)).await;
    fleet.save(&[alpha.fault("print=E out of luck").arg("--bad-flag")]);
    let ran = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(ran.stderr.contains("invalid argument"), "{ran:?}");
    let ran = fleet.magictl(&["reload", "-o", "json"]).await;
    let veto = &ran.expect_code(1).json()["vetoes"][0];
    assert_eq!(veto["lastExit"]["class"], "bad-arguments");
    assert_eq!(veto["lastExit"]["code"], 1);
}

/// What runs, what was stopped by an operator, what was started by one, and what was never started.
#[tokio::test]
async fn r22_what_a_vetoed_change_removed_or_started_is_as_wanted_as_before() {
    let mut fleet = Fleet::new();
    let port = fleet.port(0);
    let [alpha, beta, idle, stopped, lazy] =
        ["alpha", "beta", "idle", "stopped", "lazy"].map(Server::faulty);
    let alpha = alpha.set("port", port);
    let idle = idle.set("autostart", false);
    let lazy = lazy.set("autostart", false);
    let good = [&alpha, &beta, &idle, &stopped, &lazy].map(Clone::clone);
    fleet.save(&good);
    fleet.start().await;
    fleet.magictl(&["start", "idle"]).await.expect_code(0);
    fleet.magictl(&["stop", "stopped"]).await.expect_code(0);
    let before = fleet.status().await;
    let lazy_started = lazy.clone().set("autostart", true);
    fleet.save(&[alpha.set("ctx_size", 512), broken(beta), lazy_started]);
    fleet.magictl(&["reload"]).await.expect_code(1);
    let after = fleet
        .wait("everything is as before", |servers| {
            let before = before.servers.iter();
            let mut same = before.map(|before| {
                let now = servers.get(&before.name);
                now.map(|now| (now.state(), &now.reason)) == Some((before.state(), &before.reason))
            });
            servers.len() == good.len() && same.all(|same| same)
        })
        .await;
    assert_eq!(after["alpha"].port, Some(port.into()));
    let beta = before.servers.iter().find(|server| server.name == "beta");
    assert_eq!(after["beta"].pid, beta.unwrap().pid);
    // The operator's word outlives it.
    fleet.terminate().await;
    fleet.save(&good);
    fleet.start().await;
    let stopped = fleet.state("stopped", ServerState::Stopped).await;
    assert_eq!(stopped.reason, "requested");
}

/// R22, where no server has room for a successor.
#[tokio::test]
async fn r22_all_that_were_stopped_for_one_bad_successor_run_again_as_they_were() {
    let mut fleet = Fleet::new();
    let names = ["alpha", "beta", "gamma"];
    let servers: Vec<Server> = (0..)
        .zip(names)
        .map(|(n, name)| Server::faulty(name).set("port", fleet.port(n)))
        .collect();
    fleet.save(&servers);
    fleet.start().await;
    let before = fleet.all_ready(3).await;
    let changed = servers.iter().cloned();
    let mut changed: Vec<_> = changed.map(|server| server.set("ctx_size", 512)).collect();
    changed[1] = broken(changed[1].clone());
    fleet.save(&changed);
    let ran = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(ran.stderr.contains("vetoed by beta"), "{ran:?}");
    let after = fleet.all_ready(3).await;
    for name in names {
        assert_eq!(after[name].endpoint, before[name].endpoint);
        let explained = fleet.magictl(&["explain", name]).await.expect_code(0);
        assert!(!explained.stdout.contains("--ctx-size"), "{explained:?}");
    }
}

#[tokio::test]
async fn a_change_is_kept_if_the_configuration_says_so() {
    let mut fleet = Fleet::new();
    fleet.set("reload.on_failure", "keep");
    let alpha = Server::faulty("alpha");
    fleet.save(&[alpha.clone(), Server::faulty("beta")]);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    fleet.save(&[broken(alpha), Server::faulty("beta").set("ctx_size", 512)]);
    let ran = fleet
        .magictl(&["reload", "-o", "json"])
        .await
        .expect_code(1);
    assert_eq!(ran.json()["verdict"], "applied");
    fleet.state("alpha", ServerState::Failed).await;
    let beta = fleet.ready("beta").await;
    assert_ne!(beta.pid, before["beta"].pid);
    let status = fleet.status().await;
    assert_eq!(status.generation, Some(2));
    assert_eq!(status.config.unwrap().state(), ConfigState::Applied);
}

/// By events, by another file, and by another magid: only who asks has it tried again.
#[tokio::test]
async fn what_was_vetoed_is_not_tried_again_by_itself() {
    let (mut fleet, before) = started(&[Server::faulty("alpha")]).await;
    let good = profile(&fleet);
    let path = fleet.path("faults");
    std::fs::write(&path, "exit-loaded:code=3\n").unwrap();
    let bad = format!(
        "{good}args = [\"--faults-from\", {:?}]\nrestart = {{ max_failures = 1 }}\n",
        path.display().to_string()
    );
    fleet.save_text(&bad);
    vetoed(&mut fleet).await;
    let tries = replacements(&fleet).await;
    assert!(tries > 0);
    // Another profile changes, and the text goes away and comes back.
    std::fs::write(fleet.path("profiles/other.toml"), "[").unwrap();
    warned(&mut fleet, "profile other").await;
    fleet.save_text(&format!("{good}# good\n"));
    state(&mut fleet, ConfigState::Applied).await;
    fleet.save_text(&bad);
    vetoed(&mut fleet).await;
    assert_eq!(replacements(&fleet).await, tries);
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
    // The next magid starts with what was good, and says so.
    fleet.terminate().await;
    fleet.start().await;
    vetoed(&mut fleet).await;
    fleet.all_ready(1).await;
    let shown = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(shown.all().contains("alpha"), "{shown:?}");
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(!explained.stdout.contains("faults-from"), "{explained:?}");
    fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(replacements(&fleet).await > 0);
    vetoed(&mut fleet).await;
    // What made it fail is gone, and somebody asks.
    std::fs::remove_file(path).unwrap();
    fleet.magictl(&["reload"]).await.expect_code(0);
    state(&mut fleet, ConfigState::Applied).await;
}

async fn state(fleet: &mut Fleet, wanted: ConfigState) {
    let what = format!("the configuration is {}", wanted.as_str_name());
    let is = |status: &GetStatusResponse| status.config.as_ref().unwrap().state() == wanted;
    fleet.wait_status(&what, is).await;
}

async fn vetoed(fleet: &mut Fleet) {
    state(fleet, ConfigState::Vetoed).await;
}

async fn warned(fleet: &mut Fleet, of: &str) {
    let warned = |status: &GetStatusResponse| {
        let mut warnings = status.config.as_ref().unwrap().warnings.iter();
        warnings.any(|warning| warning.message.contains(of))
    };
    fleet.wait_status("a warning", warned).await;
}

/// How often anything was told of an incarnation beside the one that serves.
async fn replacements(fleet: &Fleet) -> usize {
    let events = fleet.events().await.unwrap();
    let beside = |event: &&Event| event.kind == "replacement-state";
    events.iter().filter(beside).count()
}

#[tokio::test]
async fn the_rules_of_magid_toml_are_taken_back_with_what_it_did_to_servers() {
    let mut fleet = Fleet::new();
    fleet.set("restart.max_failures", 1);
    fleet.make_model("alpha");
    fleet.save_text("[servers.alpha]\nmodel = \"alpha.gguf\"\n");
    fleet.start().await;
    let before = fleet.all_ready(1).await;
    let (good, elsewhere) = (before["alpha"].port.unwrap(), fleet.port(3));
    let magid_toml = std::fs::read_to_string(fleet.config_path()).unwrap();
    fleet.set("llama_server.port_range", vec![elsewhere, elsewhere]);
    fleet.set("llama_server.path", "/bin/false");
    let ran = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(ran.stderr.contains("vetoed by alpha"), "{ran:?}");
    let after = fleet.all_ready(1).await;
    assert_eq!(after["alpha"].pid, before["alpha"].pid);
    fleet.magictl(&["restart", "alpha"]).await.expect_code(0);
    let port = fleet.ready("alpha").await.port.unwrap();
    assert!(port < u32::from(elsewhere), "{port} instead of {good}");
    // So it is after a restart of magid.
    fleet.terminate().await;
    fleet.start().await;
    vetoed(&mut fleet).await;
    let port = fleet.ready("alpha").await.port.unwrap();
    assert!(port < u32::from(elsewhere), "{port} instead of {good}");
    std::fs::write(fleet.config_path(), magid_toml).unwrap();
    state(&mut fleet, ConfigState::Applied).await;
}

/// A change that loads for so long that something can be done meanwhile.
async fn in_flight(load_time: &str) -> (Fleet, Servers, tokio::task::JoinHandle<Output>) {
    let alpha = Server::faulty("alpha");
    let (mut fleet, before) = started(std::slice::from_ref(&alpha)).await;
    let fault = format!("load-time={load_time}");
    fleet.save(&[alpha.set("ctx_size", 512).fault(&fault)]);
    let reload = fleet.magictl_command(&["reload"]).output();
    let reload = tokio::spawn(async { reload.await.unwrap() });
    fleet
        .event("a successor", |event| {
            event.kind == "replacement-state" && event.message.contains("loading")
        })
        .await;
    (fleet, before, reload)
}

#[tokio::test]
async fn a_start_during_a_change_leaves_the_change_alone() {
    let (mut fleet, before, reload) = in_flight("1s").await;
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    let now = fleet.all_ready(1).await;
    assert_eq!(now["alpha"].pid, before["alpha"].pid);
    assert!(reload.await.unwrap().status.success());
    let after = fleet.all_ready(1).await;
    assert_eq!(after["alpha"].incarnation, Some(2));
}

#[tokio::test]
async fn a_stop_during_a_change_wins_and_the_change_holds() {
    let (mut fleet, _, reload) = in_flight("30s").await;
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    assert!(reload.await.unwrap().status.success());
    let alpha = fleet.state("alpha", ServerState::Stopped).await;
    assert_eq!(alpha.reason, "requested");
    assert_eq!(fleet.status().await.generation, Some(2));
    fleet.wait_no_processes().await;
}

#[tokio::test]
async fn a_restart_during_a_change_is_waited_for_with_the_new_definition() {
    let (mut fleet, _, reload) = in_flight("700ms").await;
    let restarted = fleet.magictl(&["restart", "alpha"]).await;
    restarted.expect_code(0);
    let ended = reload.await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let alpha = fleet.status().await.servers.remove(0);
    assert_eq!(alpha.state(), ServerState::Ready, "{alpha:?}");
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(explained.stdout.contains("--ctx-size 512"), "{explained:?}");
}

#[tokio::test]
async fn magid_that_is_stopped_during_a_change_vetoes_nothing() {
    let (mut fleet, before, reload) = in_flight("1s").await;
    assert!(fleet.terminate().await.success());
    assert_eq!(reload.await.unwrap().status.code(), Some(75));
    fleet.wait_no_processes().await;
    fleet.start().await;
    let after = fleet.all_ready(1).await;
    assert!(after["alpha"].incarnation > before["alpha"].incarnation);
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(explained.stdout.contains("--ctx-size 512"), "{explained:?}");
    state(&mut fleet, ConfigState::Applied).await;
    assert_eq!(fleet.status().await.generation, Some(2));
}

/// What drains for long sits in its seat for so long, whatever becomes of its server.
#[tokio::test]
async fn a_server_can_go_and_come_back_while_its_predecessor_is_still_there() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "2s");
    let beta = Server::faulty("beta");
    let alpha = Server::faulty("alpha");
    fleet.save(&[alpha.clone().fault("ignore-sigterm"), beta.clone()]);
    fleet.start().await;
    fleet.all_ready(2).await;
    fleet.save(&[alpha.clone().set("ctx_size", 512), beta.clone()]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.save(std::slice::from_ref(&beta));
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.save(&[alpha, beta.clone()]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let now = fleet.all_ready(2).await;
    assert_eq!(now["alpha"].incarnation, Some(3));
    assert_eq!(fleet.processes().len(), 3, "the predecessor is there yet");
    fleet.save(&[beta]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let what = "only beta is left";
    fleet.wait(what, |servers| servers.len() == 1).await;
    assert!(fleet.processes().len() <= 2);
}
