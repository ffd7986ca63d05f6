//! Profiles: what they make of the models that there are, and how one takes the place of another.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use magi_proto::v1::{
    ConfigState, Diagnostic, GetStatusResponse, ListModelsResponse, Model, ServerState,
};
use magi_tests::harness::{Fleet, Ran, Server, Servers};
use magi_tests::model::{embedding_model, tiny_model};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

async fn profiles(fleet: &Fleet, args: &[&str]) -> Ran {
    fleet.magictl(&[&["profiles"], args].concat()).await
}

async fn activate(fleet: &Fleet, name: &str) -> Ran {
    profiles(fleet, &["activate", name]).await.expect_code(0)
}

fn write(fleet: &Fleet, name: &str, text: &str) {
    fs::write(fleet.path("profiles").join(format!("{name}.toml")), text).unwrap();
}

/// The active profile, and the names of the servers.
async fn active(fleet: &mut Fleet) -> (String, Vec<String>) {
    let status = fleet.status().await;
    let servers = status.servers.into_iter().map(|server| server.name);
    (status.profile.unwrap_or_default(), servers.collect())
}

/// Five models of different sizes, of all tiers.
async fn models_of_all_tiers() -> Fleet {
    let mut fleet = Fleet::new();
    let models = fleet.path("models");
    for (index, word) in ["one", "two", "three", "four", "five"]
        .into_iter()
        .enumerate()
    {
        // A longer word makes a larger file.
        tiny_model(
            &models.join(format!("{word}-Q4_K_M.gguf")),
            &"x".repeat(50 * (index + 1)),
        )
        .unwrap();
    }
    embedding_model(&models.join("vectors.gguf")).unwrap();
    fleet.settle("models");
    fleet.set("active_profile", "builtin");
    fleet.start().await;
    for (model, tier) in [("four-q4_k_m", "balanced"), ("five-q4_k_m", "powerful")] {
        let set = ["models", "set", model, "--tier", tier];
        fleet.magictl(&set).await.expect_code(0);
    }
    fleet
}

#[tokio::test]
async fn a_select_serves_what_matches_and_follows_the_models() {
    let mut fleet = models_of_all_tiers().await;
    let disable = ["models", "set", "two-q4_k_m", "--enabled=false"];
    fleet.magictl(&disable).await.expect_code(0);
    for (select, expected) in [
        ("tier = \"balanced\"", &["four-q4_k_m"][..]),
        (
            "tier = [\"balanced\", \"powerful\"]",
            &["five-q4_k_m", "four-q4_k_m"],
        ),
        ("pattern = \"T*\"", &["three-q4_k_m"]),
        ("kind = \"embedding\"", &["vectors"]),
        (
            "kind = \"chat\"\nlimit = 2",
            &["one-q4_k_m", "three-q4_k_m"],
        ),
        (
            "quantization = \"F*\"\npattern = [\"one*\", \"vec*\"]",
            &["one-q4_k_m", "vectors"],
        ),
        ("quantization = \"Q9*\"", &[]),
    ] {
        write(&fleet, "test", &format!("[[select]]\n{select}\n"));
        let told = activate(&fleet, "test").await;
        let (profile, servers) = active(&mut fleet).await;
        assert_eq!(profile, "test");
        assert_eq!(servers, expected, "{select}: {told:?}");
    }
    write(
        &fleet,
        "test",
        "[[select]]\npattern = \"t*\"\nautostart = true\n",
    );
    activate(&fleet, "test").await;
    let before = fleet.all_ready(1).await;
    fleet
        .magictl(&["models", "set", "two-q4_k_m", "--enabled=true"])
        .await
        .expect_code(0);
    let after = fleet.all_ready(2).await;
    assert_eq!(after["three-q4_k_m"].pid, before["three-q4_k_m"].pid);
}

#[tokio::test]
async fn a_select_does_without_a_model_that_is_away_and_takes_it_in_when_it_is_back() {
    let mut fleet = Fleet::new();
    let (disk, away) = (fleet.path("disk"), fleet.path("away"));
    fleet.set("models.scan_paths", json!([fleet.path("models"), disk]));
    fs::create_dir(&disk).unwrap();
    tiny_model(&disk.join("gamma.gguf"), "gamma").unwrap();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.settle("models");
    fleet.settle("disk");
    write(&fleet, "all", "[[select]]\nautostart = true\n");
    fleet.start().await;
    fleet.all_ready(1).await;
    fs::rename(&disk, &away).unwrap();
    let is_away = |model: &Model| model.id == "gamma" && !model.available;
    let gone = |list: &ListModelsResponse| list.models.iter().any(is_away);
    fleet.wait_models("the disk is away", gone).await;
    let told = activate(&fleet, "all").await;
    assert!(
        told.stderr.contains("are not there now of gamma"),
        "{told:?}"
    );
    assert_eq!(
        active(&mut fleet).await,
        ("all".into(), vec!["alpha".into()])
    );
    let before = fleet.all_ready(1).await;
    fs::rename(&away, &disk).unwrap();
    let after = fleet.all_ready(2).await;
    assert_eq!(after["alpha"].pid, before["alpha"].pid);
    fs::rename(&disk, &away).unwrap();
    fleet.wait_models("the disk is away", gone).await;
    fleet.magictl(&["reload"]).await.expect_code(0);
    assert_eq!(fleet.all_ready(2).await["gamma"].pid, after["gamma"].pid);
}

#[tokio::test]
async fn the_shipped_profiles_serve_whatever_models_there_are() {
    let mut fleet = models_of_all_tiers().await;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/profiles");
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(
            &path,
            fleet.path("profiles").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    for (profile, servers) in [("fast-only", 2), ("development", 3), ("production", 4)] {
        activate(&fleet, profile).await;
        let ready = fleet.all_ready(servers).await;
        assert!(!ready.contains_key("vectors"), "{ready:#?}");
        assert_eq!(active(&mut fleet).await.0, profile);
    }
    let list = profiles(&fleet, &["list", "-o", "json"])
        .await
        .expect_code(0)
        .json();
    for profile in list["profiles"].as_array().unwrap() {
        assert_eq!(profile["errors"], Value::Array(Vec::new()), "{profile:#}");
        assert!(!profile["description"].to_string().is_empty());
    }
}

#[tokio::test]
async fn an_activation_keeps_what_both_profiles_define_and_outlives_magid() {
    let mut fleet = Fleet::new();
    let [alpha, beta, gamma] = ["alpha", "beta", "gamma"].map(Server::faulty);
    fleet.save(&[alpha.clone(), gamma]);
    let other = fs::read_to_string(fleet.profile_path()).unwrap();
    write(&fleet, "other", &other);
    fleet.save(&[alpha, beta]);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    let shared = |servers: &Servers| servers["alpha"].pid;
    activate(&fleet, "other").await;
    let after = fleet.all_ready(2).await;
    assert!(after.contains_key("gamma"));
    assert_eq!(shared(&after), shared(&before));
    let refused = profiles(&fleet, &["delete", "other"]).await.expect_code(1);
    assert!(refused.stderr.contains("active"), "{refused:?}");

    fleet.kill().await;
    fleet.start().await;
    assert_eq!(
        active(&mut fleet).await,
        ("other".into(), vec!["alpha".into(), "gamma".into()])
    );
    fleet.terminate().await;
    fleet.start().await;
    assert_eq!(active(&mut fleet).await.0, "other");
    // The key says what it said when the other one was activated, until it is edited.
    fleet.magictl(&["reload"]).await.expect_code(0);
    assert_eq!(active(&mut fleet).await.0, "other");
    profiles(&fleet, &["delete", "test"]).await.expect_code(0);
    activate(&fleet, "builtin").await;
    assert_eq!(active(&mut fleet).await.0, "builtin");
}

#[tokio::test]
async fn an_activation_starts_what_was_stopped_by_hand() {
    let mut fleet = Fleet::new();
    let [alpha, beta] = ["alpha", "beta"].map(Server::faulty);
    fleet.save(&[alpha.clone(), beta.clone()]);
    fleet.save_profile("other", &[alpha, beta]);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.magictl(&["status", "alpha"]).await.expect_code(3);
    activate(&fleet, "other").await;
    let after = fleet.all_ready(2).await;
    assert_eq!(after["beta"].pid, before["beta"].pid);
}

#[tokio::test]
async fn of_the_variable_the_key_and_an_activation_the_last_to_change_counts() {
    let mut fleet = Fleet::new();
    for name in ["by-key", "by-variable", "by-hand", "later"] {
        write(&fleet, name, "[[select]]\n");
    }
    fleet.set("active_profile", "by-key");
    fleet.env("MAGI_PROFILE", "by-variable");
    fleet.start().await;
    assert_eq!(active(&mut fleet).await.0, "by-variable");
    let told = activate(&fleet, "by-hand").await;
    assert!(
        told.stderr.contains("MAGI_PROFILE says by-variable"),
        "{told:?}"
    );
    for (change, expected) in [
        (None, "by-hand"),
        (Some("later"), "later"),
        (Some(""), "by-key"),
    ] {
        fleet.terminate().await;
        if let Some(value) = change {
            fleet.env("MAGI_PROFILE", value);
        }
        fleet.start().await;
        assert_eq!(active(&mut fleet).await.0, expected);
    }
    activate(&fleet, "by-hand").await;
    // Saving it is enough.
    fleet.set("active_profile", "later");
    fleet
        .wait_status("the key chose", |status| status.profile() == "later")
        .await;
    fleet.kill().await;
    fleet.env("ACTIVE_PROFILE", "by-variable");
    fleet.start().await;
    assert_eq!(active(&mut fleet).await.0, "by-variable");
}

#[tokio::test]
async fn profiles_are_made_shown_and_deleted() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    let text = format!(
        "# Mine.\n{}",
        fs::read_to_string(fleet.profile_path()).unwrap()
    );
    fleet.save_text(&text);
    fleet.start().await;
    fleet.all_ready(1).await;
    let made = profiles(&fleet, &["create", "fresh"]).await.expect_code(0);
    let path = fleet.path("profiles/fresh.toml");
    assert_eq!(made.stdout.trim(), path.to_str().unwrap());
    assert!(fs::read_to_string(&path).unwrap().contains('#'));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    profiles(&fleet, &["create", "fresh"]).await.expect_code(1);

    let copy = [
        "create",
        "copy",
        "--copy-of",
        "test",
        "--description",
        "A \"copy\"",
    ];
    profiles(&fleet, &copy).await.expect_code(0);
    let copied = profiles(&fleet, &["show", "copy"])
        .await
        .expect_code(0)
        .stdout;
    assert!(
        copied.contains("# Mine.") && copied.contains("[servers.\"alpha\"]"),
        "{copied}"
    );
    let list = profiles(&fleet, &["list"]).await.expect_code(0).stdout;
    assert!(
        list.contains("A \"copy\"") && list.contains("builtin"),
        "{list}"
    );

    let made = from_stdin(&fleet, "given", "description = \"Given\"\n").await;
    made.expect_code(0);
    let shown = profiles(&fleet, &["show", "given"])
        .await
        .expect_code(0)
        .stdout;
    assert_eq!(shown, "description = \"Given\"\n");
    let refused = from_stdin(&fleet, "wrong", "[servers.x]\nmodle = 1\n").await;
    let refused = refused.expect_code(78);
    assert!(refused.stderr.contains("wrong.toml:2:1"), "{refused:?}");
    for name in ["../outside", "builtin", "a/b", ".hidden", "", "a:b"] {
        let refused = profiles(&fleet, &["create", name]).await;
        assert!(
            refused.code == Some(2) || refused.code == Some(1),
            "{refused:?}"
        );
    }
    for verb in ["show", "delete", "activate"] {
        for name in ["nowhere", "../magid", "wrong"] {
            profiles(&fleet, &[verb, name]).await.expect_code(4);
        }
    }
    profiles(&fleet, &["delete", "builtin"])
        .await
        .expect_code(1);
    profiles(&fleet, &["delete", "given"]).await.expect_code(0);
    assert!(!fleet.path("profiles/given.toml").exists());
    assert!(fleet.config_path().exists());
}

/// Makes a profile of what `magictl profiles create NAME --from -` reads.
async fn from_stdin(fleet: &Fleet, name: &str, text: &str) -> Ran {
    let mut command = fleet.magictl_command(&["profiles", "create", name, "--from", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .await
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    Ran {
        command: format!("profiles create {name} --from -"),
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_read_refuses_only_its_own_activation() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    write(&fleet, "wrong", "[servers.x]\nmodle = 1\n");
    write(&fleet, "missing", "[servers.x]\nmodel = \"nowhere.gguf\"\n");
    fs::write(fleet.path("profiles/bytes.toml"), b"\xff\xfe").unwrap();
    fs::create_dir(fleet.path("profiles/folder.toml")).unwrap();
    symlink("nowhere", fleet.path("profiles/dangling.toml")).unwrap();
    write(&fleet, "my profile", "");
    fleet.start().await;
    let before = fleet.all_ready(1).await;
    let list = profiles(&fleet, &["list", "-o", "json"]).await;
    let list = list.expect_code(0).json();
    let list = list["profiles"].as_array().unwrap();
    for (name, told, text) in [
        ("wrong", "wrong.toml:2:1", "modle = 1\n"),
        ("missing", "nowhere.gguf", "nowhere.gguf\"\n"),
        ("bytes", "bytes.toml", ""),
        ("folder", "folder.toml", ""),
    ] {
        let refused = profiles(&fleet, &["activate", name]).await.expect_code(78);
        assert!(refused.stderr.contains(told), "{refused:?}");
        let shown = profiles(&fleet, &["show", name]).await.expect_code(0);
        assert!(
            shown.stdout.ends_with(text) && shown.stderr.contains(told),
            "{shown:?}"
        );
        let listed = list.iter().find(|profile| profile["name"] == name).unwrap();
        assert_ne!(listed["errors"], Value::Array(Vec::new()), "{listed:#}");
    }
    for (name, told) in [
        ("dangling", "dangling.toml"),
        ("my profile", "rename the file"),
    ] {
        let refused = profiles(&fleet, &["activate", name]).await;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        let shown = profiles(&fleet, &["show", name]).await.expect_code(0);
        assert_eq!(shown.stdout, "");
        assert!(shown.stderr.contains(told), "{shown:?}");
    }
    let status = fleet.status().await;
    assert_eq!(status.profile(), "test");
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
}

#[tokio::test]
async fn a_folder_of_profiles_that_may_not_be_written_is_77_with_its_path_and_a_command() {
    let mut fleet = Fleet::new();
    fleet.save(&[]);
    write(&fleet, "other", "");
    fleet.as_nobody();
    let folder = fleet.path("profiles");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    fleet.start().await;
    for args in [&["create", "new"][..], &["delete", "other"]] {
        let refused = profiles(&fleet, args).await.expect_code(77);
        assert!(
            refused.stderr.contains(folder.to_str().unwrap()),
            "{refused:?}"
        );
        assert!(refused.stderr.contains("sudo ch"), "{refused:?}");
    }
    // What needs no file goes on.
    activate(&fleet, "other").await;
    assert_eq!(fleet.status().await.profile(), "other");
}

#[tokio::test]
async fn a_profile_is_edited_through_a_symlink_in_a_folder_that_is_one_too() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    let (profiles, elsewhere) = (fleet.path("profiles"), fleet.path("elsewhere"));
    fs::rename(&profiles, &elsewhere).unwrap();
    symlink(&elsewhere, &profiles).unwrap();
    fleet.start().await;
    let before = fleet.all_ready(1).await;
    let text = fs::read_to_string(elsewhere.join("test.toml")).unwrap();
    fs::write(
        elsewhere.join("test.toml"),
        format!("{text}ctx_size = 512\n"),
    )
    .unwrap();
    let after = fleet.ready_again(&before["alpha"]).await;
    assert_eq!(after.state(), ServerState::Ready);
}

#[tokio::test]
async fn an_active_profile_that_cannot_be_read_any_more_is_told_as_what_it_is() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let before = fleet.all_ready(1).await;
    let text = fs::read_to_string(fleet.profile_path()).unwrap();
    for broken in [&b"\xff\xfe"[..], &[b'#'; 2 << 20]] {
        fs::write(fleet.profile_path(), broken).unwrap();
        let told = |status: &GetStatusResponse| {
            let config = status.config.as_ref().unwrap();
            let names_it = |error: &Diagnostic| error.message.contains("test.toml");
            config.state() == ConfigState::Invalid && config.errors.iter().any(names_it)
        };
        fleet.wait_status("what is wrong is told", told).await;
        fleet.magictl(&["reload"]).await.expect_code(78);
        fleet.save_text(&text);
        let is_well = |status: &GetStatusResponse| {
            status.config.as_ref().unwrap().state() == ConfigState::Applied
        };
        fleet.wait_status("it is mended", is_well).await;
    }
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
}
