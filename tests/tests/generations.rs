//! What was applied, kept as generations: listed, compared, gone back to, and never lost.

use std::fs;
use std::path::PathBuf;

use magi_proto::v1::{ConfigState, ServerState};
use magi_tests::harness::{Fleet, Ran, Server, Servers};

/// A fleet whose servers fail quickly.
fn quick() -> Fleet {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "10ms");
    fleet.set("restart.max_failures", 2);
    fleet
}

async fn started(servers: &[Server]) -> (Fleet, Servers) {
    let mut fleet = quick();
    fleet.save(servers);
    fleet.start().await;
    let ready = fleet.all_ready(servers.len()).await;
    (fleet, ready)
}

fn alpha() -> Server {
    Server::faulty("alpha")
}

fn with_context(size: u32) -> Server {
    alpha().set("ctx_size", size)
}

fn profile(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.profile_path()).unwrap()
}

/// Saves and applies, and gives the verdict.
async fn applied(fleet: &Fleet, servers: &[Server]) -> Ran {
    fleet.save(servers);
    fleet.magictl(&["reload"]).await.expect_code(0)
}

/// The numbers, newest first, and the causes.
async fn history(fleet: &Fleet) -> Vec<(u64, String)> {
    let listed = fleet.magictl(&["history", "-o", "json"]).await;
    let listed = listed.expect_code(0).json();
    let generations = listed["generations"].as_array().unwrap().iter();
    let told = generations.map(|generation| {
        let cause = generation["cause"].as_str().unwrap().to_owned();
        (generation["number"].as_u64().unwrap(), cause)
    });
    told.collect()
}

async fn numbers(fleet: &Fleet) -> Vec<u64> {
    let history = history(fleet).await.into_iter();
    history.map(|(number, _)| number).collect()
}

/// The paths that an answer names of texts that were kept.
fn kept(told: &str) -> Vec<PathBuf> {
    let words = told.split_whitespace();
    let kept = words.filter(|word| word.contains("/replaced/"));
    kept.map(PathBuf::from).collect()
}

async fn config_state(fleet: &mut Fleet, wanted: ConfigState) {
    let what = format!("the configuration is {}", wanted.as_str_name());
    fleet
        .wait_status(&what, |status| {
            status.config.as_ref().unwrap().state() == wanted
        })
        .await;
}

#[tokio::test]
async fn numbers_count_from_1_and_equal_content_makes_none() {
    let (mut fleet, before) = started(&[alpha()]).await;
    assert_eq!(history(&fleet).await, [(1, "start".to_owned())]);
    applied(&fleet, &[with_context(512)]).await;
    assert_eq!(numbers(&fleet).await, [2, 1]);
    applied(&fleet, &[with_context(512)]).await;
    fleet.magictl(&["reload"]).await.expect_code(0);
    assert_eq!(numbers(&fleet).await, [2, 1]);
    // What was before is a change like any other.
    applied(&fleet, &[alpha()]).await;
    assert_eq!(numbers(&fleet).await, [3, 2, 1]);
    assert_eq!(fleet.status().await.generation, Some(3));
    fleet.terminate().await;
    fleet.start().await;
    let after = fleet.all_ready(1).await;
    assert!(after["alpha"].incarnation > before["alpha"].incarnation);
    assert_eq!(numbers(&fleet).await, [3, 2, 1]);
    fleet.magictl(&["history", "--verify"]).await.expect_code(0);
}

#[tokio::test]
async fn a_rollback_brings_the_profile_back_and_is_a_generation_of_its_own() {
    let (mut fleet, _) = started(&[with_context(512)]).await;
    let first = profile(&fleet);
    fleet.set("liveness.timeout", "4s");
    fleet.set("logs.keep", 3);
    let magid_toml = fs::read_to_string(fleet.config_path()).unwrap();
    applied(&fleet, &[with_context(1024)]).await;
    let newest = numbers(&fleet).await[0];
    let before = fleet.ready("alpha").await;
    let planned = fleet.magictl(&["rollback", "1", "--dry-run"]).await;
    let planned = planned.expect_code(0);
    assert!(planned.stdout.contains("1024 -> 512"), "{planned:?}");
    assert_eq!(numbers(&fleet).await[0], newest);
    let ran = fleet.magictl(&["rollback", "1"]).await.expect_code(0);
    for key in ["liveness.timeout", "logs.keep"] {
        assert!(ran.stderr.contains(key), "{ran:?}");
    }
    assert_eq!(kept(&ran.stderr), Vec::<PathBuf>::new());
    assert_eq!(profile(&fleet), first);
    assert_eq!(fs::read_to_string(fleet.config_path()).unwrap(), magid_toml);
    let after = fleet.ready("alpha").await;
    assert_ne!(after.pid, before.pid);
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(explained.stdout.contains("--ctx-size 512"), "{explained:?}");
    assert_eq!(
        history(&fleet).await[0],
        (newest + 1, "rollback".to_owned())
    );
    // So it can be rolled back itself, by its number or after a restart.
    fleet.terminate().await;
    fleet.start().await;
    let back = newest.to_string();
    fleet.magictl(&["rollback", &back]).await.expect_code(0);
    assert!(profile(&fleet).contains("1024"));
}

#[tokio::test]
async fn a_rollback_activates_the_profile_that_was_active_then() {
    let (mut fleet, before) = started(&[alpha()]).await;
    fleet.save_profile("other", &[alpha(), Server::faulty("beta")]);
    let activate = ["profiles", "activate", "other"];
    fleet.magictl(&activate).await.expect_code(0);
    assert_eq!(fleet.all_ready(2).await["alpha"].pid, before["alpha"].pid);
    fleet.magictl(&["rollback", "1"]).await.expect_code(0);
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
    assert_eq!(fleet.status().await.profile.as_deref(), Some("test"));
    fleet.terminate().await;
    fleet.start().await;
    assert_eq!(fleet.status().await.profile.as_deref(), Some("test"));
    fleet.magictl(&["rollback", "2"]).await.expect_code(0);
    assert_eq!(fleet.status().await.profile.as_deref(), Some("other"));
}

#[tokio::test]
async fn what_was_only_in_the_file_is_kept_by_a_rollback_and_by_a_restore() {
    let (mut fleet, before) = started(&[alpha()]).await;
    applied(&fleet, &[with_context(512)]).await;
    let refused = "# an hour of work\n[servers.alpha]\nmodle = 1\n";
    fleet.save_text(refused);
    config_state(&mut fleet, ConfigState::Invalid).await;
    let ran = fleet.magictl(&["rollback", "1"]).await.expect_code(0);
    let [rolled_back] = &kept(&ran.stderr)[..] else {
        panic!("{ran:?}");
    };
    assert_eq!(fs::read_to_string(rolled_back).unwrap(), refused);
    config_state(&mut fleet, ConfigState::Applied).await;
    fleet.ready("alpha").await;
    // The same text again is in the same place; one that was saved just now is in none yet.
    fleet.save_text(refused);
    let ran = fleet
        .magictl(&["restore", "2", "test"])
        .await
        .expect_code(0);
    assert_eq!(kept(&ran.stderr), std::slice::from_ref(rolled_back));
    assert!(profile(&fleet).contains("512"));
    let fresh = "# fresh\n";
    fleet.save_text(fresh);
    let ran = fleet.magictl(&["restore", "1", "-o", "json"]).await;
    let told = ran.expect_code(0).json();
    let path = told["kept"][0].as_str().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), fresh);
    assert_ne!(before["alpha"].pid, None);
}

#[tokio::test]
async fn a_restore_writes_the_files_that_differ_and_a_dry_run_none() {
    let (mut fleet, _) = started(&[alpha()]).await;
    let (magid_toml, test) = (
        fs::read_to_string(fleet.config_path()).unwrap(),
        profile(&fleet),
    );
    fleet.set("logs.keep", 3);
    applied(&fleet, &[with_context(512)]).await;
    let path = fleet.profile_path().display().to_string();
    let ran = fleet.magictl(&["restore", "1", "--dry-run"]).await;
    assert_eq!(ran.expect_code(0).stdout.lines().count(), 2);
    assert!(profile(&fleet).contains("512"));
    let ran = fleet.magictl(&["restore", "1", &path]).await.expect_code(0);
    assert_eq!(ran.stdout.trim(), path);
    assert_eq!(profile(&fleet), test);
    let ran = fleet.magictl(&["restore", "1", "magid.toml"]).await;
    ran.expect_code(0);
    assert_eq!(fs::read_to_string(fleet.config_path()).unwrap(), magid_toml);
    let ran = fleet.magictl(&["restore", "1"]).await.expect_code(0);
    assert!(
        ran.stdout.is_empty() && ran.stderr.contains("like that already"),
        "{ran:?}"
    );
    fleet
        .magictl(&["restore", "1", "nothing.toml"])
        .await
        .expect_code(4);
    // It is taken like any edit.
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.ready("alpha").await;
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(!explained.stdout.contains("--ctx-size"), "{explained:?}");
}

#[tokio::test]
async fn differences_are_shown_between_generations_and_with_the_files() {
    let (fleet, _) = started(&[with_context(512)]).await;
    applied(&fleet, &[with_context(1024)]).await;
    let lines = |text: &str| {
        let changed = |line: &&str| line.starts_with(['+', '-']) && line.contains("ctx_size");
        text.lines()
            .filter(changed)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let expected = ["-ctx_size = 512", "+ctx_size = 1024"];
    for args in [
        &["diff"][..],
        &["diff", "2"],
        &["diff", "2", "--since", "1"],
    ] {
        let ran = fleet.magictl(args).await.expect_code(0);
        assert_eq!(lines(&ran.stdout), expected);
    }
    let same = fleet.magictl(&["diff", "--files"]).await.expect_code(0);
    assert!(same.stdout.is_empty(), "{same:?}");
    let text = profile(&fleet);
    fleet.save_text(&text.replace("1024", "\"many\""));
    let with_files = fleet.magictl(&["diff", "--files"]).await.expect_code(0);
    let expected = ["-ctx_size = 1024", "+ctx_size = \"many\""];
    assert_eq!(lines(&with_files.stdout), expected);
}

#[tokio::test]
async fn a_generation_that_was_pruned_is_4_with_what_is_left() {
    let (mut fleet, before) = started(&[alpha()]).await;
    let text = profile(&fleet);
    for number in 2..=13 {
        fleet.save_text(&format!("# {number}\n{text}"));
        fleet.magictl(&["reload"]).await.expect_code(0);
    }
    let left: Vec<u64> = (4..=13).rev().collect();
    assert_eq!(numbers(&fleet).await, left);
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
    for args in [
        &["rollback", "1"][..],
        &["restore", "3"],
        &["diff", "2"],
        &["history", "--verify", "14"],
    ] {
        let ran = fleet.magictl(args).await.expect_code(4);
        assert!(ran.stderr.contains("there are 13 to 4"), "{ran:?}");
    }
    let prune = ["history", "--prune", "--dry-run"];
    let pruned = fleet.magictl(&prune).await.expect_code(0);
    assert!(pruned.stdout.contains("would remove: none"), "{pruned:?}");
    let verified = fleet.magictl(&["history", "--verify"]).await;
    let verified = verified.expect_code(0);
    assert!(verified.stdout.contains("10 verified"), "{verified:?}");
}

#[tokio::test]
async fn a_command_for_another_generation_is_refused() {
    let (mut fleet, before) = started(&[alpha()]).await;
    let text = profile(&fleet);
    applied(&fleet, &[with_context(512)]).await;
    let changed = fleet.ready("alpha").await;
    fleet.save_text(&text);
    for args in [
        &["rollback", "1"][..],
        &["stop", "alpha"],
        &["restart", "alpha"],
    ] {
        let args = [args, &["--expect-generation", "1"]].concat();
        let ran = fleet.magictl(&args).await.expect_code(1);
        assert!(ran.stderr.contains("generation 2 is in force"), "{ran:?}");
    }
    drop((before, changed));
    let args = ["reload", "--expect-generation", "9"];
    fleet.magictl(&args).await.expect_code(1);
    let now = fleet.status().await.generation.unwrap().to_string();
    let args = ["restart", "alpha", "--expect-generation", &now];
    fleet.magictl(&args).await.expect_code(0);
}

#[tokio::test]
async fn a_file_that_is_damaged_is_named_and_the_others_are_used() {
    let (mut fleet, _) = started(&[alpha()]).await;
    for size in [512, 1024] {
        applied(&fleet, &[with_context(size)]).await;
    }
    let second = fleet.path("state/generations/00000002.json");
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&second, text.replace("512", "513")).unwrap();
    let verified = fleet.magictl(&["history", "--verify"]).await;
    let verified = verified.expect_code(1);
    assert!(verified.stdout.contains("generation 2:"), "{verified:?}");
    let ran = fleet.magictl(&["rollback", "2"]).await.expect_code(1);
    assert!(ran.stderr.contains("00000002.json"), "{ran:?}");
    assert!(profile(&fleet).contains("1024"));
    fleet.magictl(&["rollback", "1"]).await.expect_code(0);
    // The newest one too, and the profile is of no use: the one before serves.
    let newest = fleet.path("state/generations/00000004.json");
    fs::write(newest, "{").unwrap();
    fleet.terminate().await;
    fleet.save_text("[");
    fleet.start().await;
    fleet.ready("alpha").await;
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(
        explained.stdout.contains("--ctx-size 1024"),
        "{explained:?}"
    );
    assert_eq!(numbers(&fleet).await, [3, 1]);
    let verified = fleet.magictl(&["history", "--verify"]).await;
    let verified = verified.expect_code(1);
    for broken in ["generation 2:", "generation 4:"] {
        assert!(verified.stdout.contains(broken), "{verified:?}");
    }
}

/// A fleet with a generation 1 that cannot be gone back to, and its generation 2.
async fn with_a_bad_past() -> (Fleet, Servers) {
    let mut fleet = quick();
    let faults = fleet.path("faults").display().to_string();
    fleet.save(&[alpha().arg("--faults-from").arg(&faults)]);
    fleet.start().await;
    fleet.all_ready(1).await;
    fs::write(faults, "exit-loaded:code=3\nprint=E no luck\n").unwrap();
    applied(&fleet, &[with_context(512), Server::faulty("beta")]).await;
    let ready = fleet.all_ready(2).await;
    (fleet, ready)
}

#[tokio::test]
async fn a_rollback_that_is_vetoed_leaves_fleet_and_file_as_they_were() {
    let (mut fleet, before) = with_a_bad_past().await;
    let text = profile(&fleet);
    let ran = fleet.magictl(&["rollback", "1"]).await.expect_code(1);
    assert!(ran.stderr.contains("vetoed by alpha"), "{ran:?}");
    assert!(ran.stderr.contains("no luck"), "{ran:?}");
    assert_eq!(profile(&fleet), text);
    let after = fleet.all_ready(2).await;
    assert_eq!(after["alpha"].pid, before["alpha"].pid);
    assert_eq!(after["alpha"].endpoint, before["alpha"].endpoint);
    // Nothing is left to do.
    fleet.magictl(&["reload"]).await.expect_code(0);
    config_state(&mut fleet, ConfigState::Applied).await;
    assert_eq!(numbers(&fleet).await, [2, 1]);
    assert_eq!(fleet.all_ready(2).await["alpha"].pid, before["alpha"].pid);
}

#[tokio::test]
async fn a_rollback_that_is_vetoed_takes_the_file_away_that_it_made() {
    let (mut fleet, _) = with_a_bad_past().await;
    fleet.save_profile("other", &[with_context(512)]);
    let activate = ["profiles", "activate", "other"];
    fleet.magictl(&activate).await.expect_code(0);
    fs::remove_file(fleet.profile_path()).unwrap();
    let before = fleet.all_ready(1).await;
    fleet.magictl(&["rollback", "1"]).await.expect_code(1);
    assert!(!fleet.profile_path().exists());
    assert_eq!(fleet.status().await.profile.as_deref(), Some("other"));
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
    fleet.terminate().await;
    fleet.start().await;
    assert_eq!(fleet.status().await.profile.as_deref(), Some("other"));
}

const MINE: &str = "# mine\n[servers.alpha]\nmodle = 1\n";

#[tokio::test]
async fn an_edit_just_before_a_rollback_is_back_after_its_veto() {
    let (mut fleet, before) = with_a_bad_past().await;
    fleet.save_text(MINE);
    let ran = fleet.magictl(&["rollback", "1"]).await.expect_code(1);
    let [kept] = &kept(&ran.stderr)[..] else {
        panic!("{ran:?}");
    };
    assert_eq!(fs::read_to_string(kept).unwrap(), MINE);
    assert_eq!(profile(&fleet), MINE);
    config_state(&mut fleet, ConfigState::Invalid).await;
    let after = fleet.all_ready(2).await;
    assert_eq!(after["alpha"].pid, before["alpha"].pid);
}

#[tokio::test]
async fn models_that_come_during_a_rollback_do_not_make_it_an_edit() {
    let (mut fleet, before) = with_a_bad_past().await;
    let text = profile(&fleet);
    let faults = "load-time=1s\nexit-loaded:code=3\n";
    fs::write(fleet.path("faults"), faults).unwrap();
    let rollback = fleet.magictl_command(&["rollback", "1"]).output();
    let rollback = tokio::spawn(rollback);
    third_loads(&mut fleet).await;
    // The same size and another time: another file, which is what servers stand on.
    let model = fleet.path("models/alpha.gguf");
    let fresh = fleet.path("fresh.gguf");
    fs::copy(&model, &fresh).unwrap();
    fs::rename(fresh, model).unwrap();
    let ended = rollback.await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(profile(&fleet), text);
    fleet.magictl(&["history", "--verify"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    assert_eq!(after["beta"].model, before["beta"].model);
}

#[tokio::test]
async fn an_edit_during_a_rollback_is_not_undone_by_its_veto() {
    let (mut fleet, _) = with_a_bad_past().await;
    let faults = "load-time=1s\nexit-loaded:code=3\n";
    fs::write(fleet.path("faults"), faults).unwrap();
    let rollback = fleet.magictl_command(&["rollback", "1"]).output();
    let rollback = tokio::spawn(rollback);
    third_loads(&mut fleet).await;
    fleet.save_text(MINE);
    config_state(&mut fleet, ConfigState::Invalid).await;
    let ended = rollback.await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(profile(&fleet), MINE);
    config_state(&mut fleet, ConfigState::Invalid).await;
}

/// Waits until the third incarnation of alpha loads, which is the first that a rollback starts.
async fn third_loads(fleet: &mut Fleet) {
    fleet
        .event("a successor", |event| {
            event.kind == "replacement-state" && event.message.starts_with("incarnation 3")
        })
        .await;
}

#[tokio::test]
async fn an_invalid_profile_at_start_is_answered_with_the_last_good_generation() {
    let (mut fleet, _) = started(&[with_context(512)]).await;
    fleet.save_profile("other", &[Server::faulty("beta")]);
    fleet.terminate().await;
    // Another profile was chosen, and is of no use.
    let other = fleet.path("profiles/other.toml");
    let good = fs::read_to_string(&other).unwrap();
    fs::write(&other, good.replace("model", "modle")).unwrap();
    fleet.set("active_profile", "other");
    fleet.start().await;
    config_state(&mut fleet, ConfigState::Invalid).await;
    fleet.ready("alpha").await;
    let shown = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(shown.all().contains("other.toml"), "{shown:?}");
    fs::write(&other, good).unwrap();
    config_state(&mut fleet, ConfigState::Applied).await;
    let servers = fleet.all_ready(1).await;
    assert!(servers.contains_key("beta"), "{servers:?}");
    assert_eq!(fleet.status().await.profile.as_deref(), Some("other"));
}

#[tokio::test]
async fn what_killed_writers_left_is_swept_where_only_magid_writes() {
    let (mut fleet, _) = started(&[alpha()]).await;
    fleet.kill().await;
    let left = |folder: &str| fleet.path(folder).join(".magi-a1b2c3");
    let swept = ["state", "state/servers", "state/generations"].map(left);
    let kept = left("profiles");
    for path in swept.iter().chain([&kept]) {
        fs::write(path, "").unwrap();
    }
    fleet.start().await;
    // Its socket is there before everything else is.
    fleet.state("alpha", ServerState::Ready).await;
    assert!(swept.iter().all(|path| !path.exists()));
    assert!(kept.exists());
}
