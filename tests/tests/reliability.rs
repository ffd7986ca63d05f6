//! R2 to R8 of the reliability promises, from outside. The pure core carries them by property tests;
//! here they are seen on the machine.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use magi_proto::v1::{Event, ServerState};
use magi_tests::figure;
use magi_tests::harness::{Fleet, Server, full, post};
use serde_json::json;

fn seconds(event: &Event) -> f64 {
    let at = event.at.unwrap();
    at.seconds as f64 + f64::from(at.nanos) / 1e9
}

/// When the server was in a state with a reason, oldest first.
async fn times(fleet: &Fleet, state: ServerState, reason: &str) -> Vec<f64> {
    let events = fleet.events().await.unwrap();
    let meant = events
        .iter()
        .filter(|e| e.to() == state && e.reason == reason);
    meant.map(seconds).collect()
}

#[tokio::test]
async fn r02_the_gaps_between_restarts_follow_the_curve() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "100ms");
    fleet.set("restart.max_delay", "200ms");
    let failures = full(6, 100);
    fleet.set("restart.max_failures", failures);
    fleet.save(&[Server::faulty("alpha").fault("exit-loaded:code=3")]);
    fleet.start().await;
    fleet
        .wait_for("alpha", "gave up", |s| s.state() == ServerState::Failed)
        .await;
    let events = fleet.events().await.unwrap();
    let mut worst: f64 = 0.0;
    let mut curve = 0.1;
    let mut backoff_at = None;
    for event in &events {
        match event.to() {
            ServerState::Backoff => backoff_at = Some(seconds(event)),
            ServerState::Starting if event.reason == "spawning" => {
                let Some(since) = backoff_at.take() else {
                    continue;
                };
                let gap = seconds(event) - since;
                assert!(gap >= curve - 0.002, "a gap of {gap} s is below {curve} s");
                assert!(
                    gap <= 1.1 * curve + 0.05,
                    "a gap of {gap} s is above {curve} s"
                );
                worst = worst.max(gap / curve);
                curve = (curve * 2.0).min(0.2);
            }
            _ => {}
        }
    }
    figure!("R2: the worst gap was {worst:.3} of the curve");
    assert!(worst > 0.0);
}

#[tokio::test]
async fn r03_dying_at_the_end_of_loading_never_resets_the_backoff() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "50ms");
    fleet.set("restart.reset_after", "100ms");
    fleet.set("restart.max_failures", 3);
    fleet.save(&[Server::faulty("alpha")
        .fault("load-time=400ms")
        .fault("exit-loaded:code=3")]);
    fleet.start().await;
    let alpha = fleet.state("alpha", ServerState::Failed).await;
    assert_eq!(alpha.restarts, 2);
    assert!(alpha.detail.contains("3 failures"), "{alpha:?}");
}

#[tokio::test]
async fn r04_the_breaker_opens_stays_open_and_lets_an_operator_through() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "20ms");
    fleet.set("restart.max_failures", 3);
    fleet.save(&[
        Server::faulty("alpha").fault("exit-loaded:code=3"),
        Server::faulty("beta"),
    ]);
    fleet.start().await;
    let beta = fleet.ready("beta").await;
    let alpha = fleet.state("alpha", ServerState::Failed).await;
    assert!(alpha.next_try.is_some());
    let spawns = times(&fleet, ServerState::Starting, "spawning").await.len();
    let failed = fleet.magictl(&["start", "alpha"]).await.expect_code(1);
    assert!(
        failed.all().contains("code 3") || failed.all().contains("status 3"),
        "{failed:?}"
    );
    let again = fleet.state("alpha", ServerState::Failed).await;
    assert_eq!(again.restarts, 2, "the requested start is not counted");
    let more = times(&fleet, ServerState::Starting, "spawning").await.len();
    assert_eq!(more - spawns, 3);
    assert_eq!(fleet.ready("beta").await.pid, beta.pid);
}

#[tokio::test]
async fn r05_a_failed_spawn_names_its_stage_and_heals_when_the_binary_is_mended() {
    let mut fleet = Fleet::new();
    let program = fleet.path("llama-server");
    fleet.save(&[
        Server::faulty("alpha").set("llama_server", program.display().to_string()),
        Server::faulty("beta"),
    ]);
    fleet.start().await;
    fleet.ready("beta").await;
    let missing = fleet.state("alpha", ServerState::Failed).await;
    let exit = missing.last_exit.unwrap();
    assert_eq!(
        (exit.class.as_str(), exit.exec_stage.as_deref()),
        ("spawn-failed", Some("executing"))
    );
    assert!(exit.detail.contains("No such file"), "{}", exit.detail);

    // There, but not executable; then executable, but no program; then right.
    std::fs::write(&program, "no program").unwrap();
    fleet
        .wait_for("alpha", "fails with EACCES", |s| {
            s.state() == ServerState::Failed && s.detail.contains("Permission denied")
        })
        .await;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    fleet
        .wait_for("alpha", "fails with ENOEXEC", |s| {
            s.state() == ServerState::Failed && s.detail.contains("xec format error")
        })
        .await;
    let fresh = fleet.path("fresh");
    std::fs::copy(magi_tests::harness::faulty_llama_server(), &fresh).unwrap();
    std::fs::rename(fresh, &program).unwrap();
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn r06_permanent_causes_fail_at_once_and_heal_when_the_file_comes() {
    let Some(real) = magi_tests::harness::llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.save(&[
        Server::real("flag", &real).arg("--no-such-flag"),
        Server::real("invalid", &real),
        Server::real("missing", &real),
    ]);
    std::fs::write(fleet.path("models/invalid.gguf"), "no model").unwrap();
    let model = fleet.path("models/missing.gguf");
    let kept = fleet.path("kept.gguf");
    std::fs::rename(&model, &kept).unwrap();
    fleet.start().await;
    for (name, class) in [
        ("flag", "bad-arguments"),
        ("invalid", "model-invalid"),
        ("missing", "model-missing"),
    ] {
        let server = fleet.state(name, ServerState::Failed).await;
        assert_eq!((server.reason.as_str(), server.restarts), (class, 0));
        assert!(server.next_try.is_none(), "{server:?}");
    }
    let flag = fleet.status().await.servers.remove(0).last_exit.unwrap();
    assert!(
        flag.last_lines
            .iter()
            .any(|line| line.contains("--no-such-flag")),
        "{flag:?}"
    );
    std::fs::copy(&kept, fleet.path("models/fresh")).unwrap();
    std::fs::rename(
        fleet.path("models/fresh"),
        fleet.path("models/invalid.gguf"),
    )
    .unwrap();
    fleet.ready("invalid").await;
    std::fs::rename(&kept, &model).unwrap();
    fleet.ready("missing").await;
}

#[tokio::test]
async fn r07_a_server_is_not_ready_before_it_answers_and_loading_is_no_failure() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").fault("load-time=700ms")]);
    fleet.start().await;
    let loading = fleet
        .wait_for("alpha", "is loading", |s| s.reason == "loading")
        .await;
    let body = json!({ "messages": [] });
    let early = post(loading.endpoint(), "/v1/chat/completions", &body).await;
    assert!(early.is_err() || early.is_ok_and(|(status, _)| status == 503));
    let ready = fleet.ready("alpha").await;
    assert_eq!((ready.restarts, ready.incarnation), (0, Some(1)));
    let (status, _) = post(ready.endpoint(), "/v1/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn r08_a_stuck_start_goes_down_the_stop_ladder_and_is_one_failure() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.max_startup_time", "1s");
    fleet.set("llama_server.stop_timeout", "300ms");
    fleet.set("restart.initial_delay", "30s");
    fleet.save(&[Server::faulty("alpha")
        .fault("never-ready")
        .fault("silent")
        .fault("ignore-sigterm")]);
    fleet.start().await;
    let alpha = fleet.state("alpha", ServerState::Backoff).await;
    assert_eq!(alpha.reason, "startup-timeout");
    let exit = alpha.last_exit.unwrap();
    assert_eq!(exit.signal, Some(9));
    assert!(exit.detail.contains("max_startup_time"), "{}", exit.detail);
    fleet.wait_no_processes().await;
    let explained = fleet.magictl(&["explain", "alpha"]).await;
    assert!(explained.stdout.contains("1 of 5"), "{explained:?}");
}

#[tokio::test]
async fn one_stuck_server_never_delays_another() {
    let mut fleet = Fleet::new();
    fleet.save(&[
        Server::faulty("stuck").fault("never-ready"),
        Server::faulty("alpha"),
    ]);
    fleet.start().await;
    fleet.ready("alpha").await;
    tokio::time::timeout(
        Duration::from_secs(10),
        fleet.magictl(&["restart", "alpha"]),
    )
    .await
    .unwrap()
    .expect_code(0);
}

#[tokio::test]
async fn concurrent_starts_are_limited_where_that_is_asked_for() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.concurrent_starts", 1);
    let servers: Vec<_> = (0..4)
        .map(|n| Server::faulty(&format!("s{n}")).fault("load-time=200ms"))
        .collect();
    fleet.save(&servers);
    fleet.start().await;
    fleet.all_ready(4).await;
    let events = fleet.events().await.unwrap();
    let mut starting = 0_i32;
    for event in events.iter().filter(|event| event.kind == "server-state") {
        match (event.to(), event.reason.as_str()) {
            (ServerState::Starting, "spawning") => starting += 1,
            (ServerState::Ready, _) => starting -= 1,
            _ => {}
        }
        assert!(starting <= 1, "{event:?}");
    }
}

#[tokio::test]
async fn r06_a_model_that_is_missing_heals_however_it_is_named() {
    let mut fleet = Fleet::new();
    let file = fleet.make_model("late");
    let kept = fleet.path("kept.gguf");
    std::fs::rename(file, &kept).unwrap();
    std::fs::create_dir(fleet.path("elsewhere")).unwrap();
    let elsewhere = fleet.path("elsewhere/late.gguf");
    let named = [
        ("by-id", "late".to_owned()),
        ("by-file", "late.gguf".to_owned()),
        ("by-path", elsewhere.display().to_string()),
        ("by-relative-path", "../elsewhere/late.gguf".to_owned()),
    ];
    let servers = named.map(|(name, model)| Server::faulty(name).set("model", model));
    let flag = Server::faulty("flag").arg("--bad-flag");
    let mut all = servers.to_vec();
    all.push(flag.clone());
    fleet.save(&all);
    fleet.start().await;
    let failed = fleet
        .wait("all have failed", |servers| {
            servers.values().all(|s| s.state() == ServerState::Failed)
        })
        .await;
    for server in failed.values() {
        let reason = match server.name.as_str() {
            "flag" => "bad-arguments",
            _ => "model-missing",
        };
        assert_eq!((server.reason.as_str(), server.restarts), (reason, 0));
        assert!(server.next_try.is_none(), "{server:?}");
    }
    std::fs::copy(&kept, &elsewhere).unwrap();
    fleet.ready("by-path").await;
    fleet.ready("by-relative-path").await;
    std::fs::rename(&kept, fleet.path("models/late.gguf")).unwrap();
    fleet.ready("by-id").await;
    fleet.ready("by-file").await;
    // Only the plan mends a wrong argument.
    assert_eq!(fleet.state("flag", ServerState::Failed).await.restarts, 0);
    all.pop();
    all.push(Server::faulty("flag"));
    fleet.save(&all);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(all.len()).await;
    // What runs goes on running without its file, and an edit that would need it is refused.
    std::fs::remove_file(elsewhere).unwrap();
    all[2] = all[2].clone().set("ctx_size", 512);
    fleet.save(&all);
    let refused = fleet.magictl(&["reload"]).await.expect_code(78);
    assert!(refused.stderr.contains("by-path"), "{refused:?}");
    let now = fleet.all_ready(all.len()).await;
    for (name, server) in &after {
        assert_eq!(now[name].pid, server.pid, "{name}");
    }
}
