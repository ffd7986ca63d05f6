//! What is known of the models, what is said of them, and the file in which both are kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use magi_proto::v1::ServerState;
use magi_tests::harness::{Disk, Fleet, Ran, Server, skipped};
use magi_tests::model::tiny_model;
use serde_json::{Value, json};

/// A fleet with these models and the built-in profile.
async fn fleet(models: &[&str]) -> Fleet {
    let mut fleet = Fleet::new();
    for word in models {
        let path = fleet.path("models").join(format!("{word}.gguf"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        tiny_model(&path, "word").unwrap();
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
    }
    fleet.set("active_profile", "builtin");
    fleet.start().await;
    fleet
}

async fn models(fleet: &Fleet, args: &[&str]) -> Ran {
    fleet.magictl(&[&["models"], args].concat()).await
}

async fn model(fleet: &Fleet, id: &str) -> Value {
    models(fleet, &["show", id, "-o", "json"])
        .await
        .expect_code(0)
        .json()
}

/// The ids of the models that are listed.
async fn ids(fleet: &Fleet, args: &[&str]) -> Vec<String> {
    let list = models(fleet, &[&["list", "-o", "json"], args].concat()).await;
    let list = list.expect_code(0).json();
    let models = list["models"].as_array().unwrap().iter();
    models
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

fn registry_file(fleet: &Fleet) -> PathBuf {
    fleet.path("state/model_registry.json")
}

#[tokio::test]
async fn what_somebody_says_of_a_model_survives_scans_moves_and_restarts() {
    let mut fleet = fleet(&["alpha", "beta"]).await;
    assert_eq!(model(&fleet, "alpha").await["overridden"], json!([]));
    let said = ["set", "alpha", "--tier", "powerful", "--thinking=true"];
    models(&fleet, &said).await.expect_code(0);
    models(&fleet, &["set", "beta", "--enabled=false"])
        .await
        .expect_code(0);
    // What was answered is on disk.
    fleet.kill().await;
    fleet.start().await;
    let path = fleet.path("models/alpha.gguf");
    fs::create_dir(fleet.path("models/new")).unwrap();
    let moved = fleet.path("models/new/renamed.gguf");
    fs::rename(path, &moved).unwrap();
    models(&fleet, &["rescan"]).await.expect_code(0);
    let alpha = model(&fleet, "alpha").await;
    assert_eq!(alpha["path"], moved.to_str().unwrap());
    assert_eq!(alpha["overridden"], json!(["tier", "thinking"]));
    assert_eq!(
        (&alpha["tier"], &alpha["thinking"]),
        (&json!("powerful"), &json!(true))
    );
    assert_eq!(ids(&fleet, &["--tier", "powerful"]).await, ["alpha"]);
    assert_eq!(ids(&fleet, &["--enabled"]).await, ["alpha"]);
    fleet.magictl(&["status", "beta"]).await.expect_code(4);

    let taken_back = ["set", "alpha", "--tier=auto", "--thinking=auto"];
    models(&fleet, &taken_back).await.expect_code(0);
    let alpha = model(&fleet, "alpha").await;
    assert_eq!(
        (&alpha["tier"], &alpha["overridden"]),
        (&json!("fast"), &json!([]))
    );
    models(&fleet, &["set", "nothing", "--enabled=true"])
        .await
        .expect_code(4);
    models(&fleet, &["set", "beta", "--tier", "best"])
        .await
        .expect_code(2);
}

#[tokio::test]
async fn a_model_that_is_disabled_loses_its_server_and_gets_it_back() {
    let mut fleet = fleet(&["alpha", "beta"]).await;
    fleet
        .magictl(&["start", "alpha", "beta"])
        .await
        .expect_code(0);
    let before = fleet.all_ready(2).await;
    models(&fleet, &["set", "alpha", "--enabled=false"])
        .await
        .expect_code(0);
    let only_beta =
        |servers: &magi_tests::harness::Servers| servers.len() == 1 && servers.contains_key("beta");
    let after = fleet.wait("alpha is gone", only_beta).await;
    assert_eq!(after["beta"].pid, before["beta"].pid);
    models(&fleet, &["set", "alpha", "--enabled=auto"])
        .await
        .expect_code(0);
    fleet.state("alpha", ServerState::Stopped).await;
}

#[tokio::test]
async fn a_model_that_is_deleted_stays_away_until_it_is_named_again() {
    let mut fleet = fleet(&["alpha", "beta"]).await;
    let refused = models(&fleet, &["delete", "alpha"]).await.expect_code(1);
    assert!(refused.stderr.contains("--enabled=false"), "{refused:?}");
    models(&fleet, &["set", "alpha", "--enabled=false"])
        .await
        .expect_code(0);
    fleet
        .wait("alpha is gone", |all| !all.contains_key("alpha"))
        .await;
    models(&fleet, &["delete", "alpha"]).await.expect_code(0);
    models(&fleet, &["rescan"]).await.expect_code(0);
    fleet.kill().await;
    fleet.start().await;
    assert_eq!(ids(&fleet, &[]).await, ["beta"]);
    let path = fleet.path("models/alpha.gguf");
    let path = path.to_str().unwrap();
    let made = models(&fleet, &["create", path, "--name", "first"]).await;
    made.expect_code(0);
    assert_eq!(ids(&fleet, &[]).await, ["beta", "first"]);
    assert_eq!(model(&fleet, "first").await["overridden"], json!([]));
    fleet.state("first", ServerState::Stopped).await;

    let outside = fleet.path("outside.gguf");
    tiny_model(&outside, "word").unwrap();
    let text = fleet.path("models/text.gguf");
    fs::write(&text, "no model").unwrap();
    fleet.settle("models");
    let nowhere = fleet.path("models/nowhere.gguf");
    for (path, why) in [
        (path, "first"),
        (outside.to_str().unwrap(), "scan path"),
        (text.to_str().unwrap(), "GGUF"),
        (nowhere.to_str().unwrap(), "nowhere.gguf"),
    ] {
        let refused = models(&fleet, &["create", path]).await;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
}

#[tokio::test]
async fn of_two_files_with_one_name_each_has_an_id_and_the_name_is_no_answer() {
    let mut fleet = fleet(&["one/same", "two/same"]).await;
    assert_eq!(ids(&fleet, &[]).await, ["same", "same-two"]);
    let both = |ran: &Ran| {
        ["one/same.gguf", "two/same.gguf", "same-two"]
            .iter()
            .all(|told| ran.stderr.contains(told))
    };
    let refused = models(&fleet, &["show", "same.gguf"]).await.expect_code(1);
    assert!(both(&refused), "{refused:?}");
    let profile = |model: &str| fleet.save_text(&format!("[servers.mine]\nmodel = \"{model}\"\n"));
    profile("same.gguf");
    let refused = fleet
        .magictl(&["profiles", "activate", "test"])
        .await
        .expect_code(78);
    assert!(
        both(&refused) && refused.stderr.contains("test.toml:2:9"),
        "{refused:?}"
    );
    profile("same-two");
    fleet
        .magictl(&["profiles", "activate", "test"])
        .await
        .expect_code(0);
    fleet.ready("mine").await;
    let explained = fleet.magictl(&["explain", "mine"]).await.expect_code(0);
    assert!(explained.stdout.contains("two/same.gguf"), "{explained:?}");
}

#[tokio::test]
async fn a_broken_registry_is_set_aside_and_built_anew() {
    let mut fleet = fleet(&["alpha"]).await;
    for broken in ["", "{\"version\": 1, \"models\": 7}", "\u{0}\u{1} garbage"] {
        fleet.kill().await;
        fs::write(registry_file(&fleet), broken).unwrap();
        fleet.start().await;
        fleet.model("alpha").await;
        fleet.state("alpha", ServerState::Stopped).await;
        let aside = registry_file(&fleet).with_extension("broken");
        assert_eq!(fs::read_to_string(&aside).unwrap(), broken);
        assert!(fleet.output().contains(aside.to_str().unwrap()));
        models(&fleet, &["set", "alpha", "--tier", "balanced"])
            .await
            .expect_code(0);
    }
    fleet.kill().await;
    fleet.start().await;
    assert_eq!(model(&fleet, "alpha").await["tier"], "balanced");
}

#[tokio::test]
async fn a_registry_of_a_later_magid_is_told_and_never_written() {
    let mut fleet = fleet(&["alpha"]).await;
    fleet.kill().await;
    let later = r#"{"version": 2, "what": "nobody knows yet"}"#;
    fs::write(registry_file(&fleet), later).unwrap();
    fleet.start().await;
    fleet.model("alpha").await;
    let list = models(&fleet, &["list"]).await.expect_code(0);
    assert!(list.stderr.contains("version 2"), "{list:?}");
    let set = models(&fleet, &["set", "alpha", "--tier", "balanced"]).await;
    let set = set.expect_code(0);
    assert!(set.stderr.contains("as long as magid runs"), "{set:?}");
    assert_eq!(model(&fleet, "alpha").await["tier"], "balanced");
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    assert_eq!(fs::read_to_string(registry_file(&fleet)).unwrap(), later);
}

#[tokio::test]
async fn on_a_full_disk_the_models_are_known_and_are_written_when_there_is_room() {
    let mut fleet = Fleet::new();
    let Some(disk) = Disk::mount(&fleet.path("small"), 64 * 1024) else {
        return skipped("only root may mount a disk");
    };
    let registry = fleet.path("small/registry.json");
    fleet.set("models.registry", registry.to_str().unwrap());
    fleet.save(&[Server::faulty("alpha")]);
    fleet.settle("models");
    let filler = disk.fill();
    fleet.start().await;
    fleet.ready("alpha").await;
    let told = |list: &magi_proto::v1::ListModelsResponse| {
        list.problems
            .iter()
            .any(|line| line.contains("registry.json"))
    };
    fleet
        .wait_models("that it cannot be written is told", told)
        .await;
    fleet.make_model("beta");
    fleet.model("beta").await;
    let set = models(&fleet, &["set", "beta", "--tier", "balanced"]).await;
    let set = set.expect_code(0);
    assert!(set.stderr.contains("No space left"), "{set:?}");
    fs::remove_file(filler).unwrap();
    let set = models(&fleet, &["set", "beta", "--thinking=true"]).await;
    assert_eq!(set.expect_code(0).stderr, "");
    fleet
        .wait_models("nothing is left to tell", |list| list.problems.is_empty())
        .await;
    fleet.kill().await;
    fleet.start().await;
    let overridden = &model(&fleet, "beta").await["overridden"];
    assert_eq!(*overridden, json!(["tier", "thinking"]));
}

#[tokio::test]
async fn what_may_not_be_read_is_told_with_its_place_and_the_rest_is_served() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").set("autostart", false)]);
    let folder = fleet.path("models/secret");
    fs::create_dir(&folder).unwrap();
    tiny_model(&folder.join("hidden.gguf"), "hidden").unwrap();
    let file = fleet.make_model("closed");
    fleet.settle("models");
    fleet.as_nobody();
    for path in [&folder, &file] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    fleet.start().await;
    fleet.model("alpha").await;
    let list = models(&fleet, &["list", "-o", "json"])
        .await
        .expect_code(0)
        .json();
    for path in [&folder, &file] {
        let problems = list["problems"].as_array().unwrap().iter();
        let about = problems.filter(|line| line.as_str().unwrap().contains(path.to_str().unwrap()));
        assert_eq!(about.count(), 1, "{list:#}");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    models(&fleet, &["rescan"]).await.expect_code(0);
    fleet.model("hidden").await;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    models(&fleet, &["rescan"]).await.expect_code(0);
    let hidden = model(&fleet, "hidden").await;
    assert_eq!(hidden["available"], false);
    assert!(
        hidden["unavailableBecause"].to_string().contains("secret"),
        "{hidden:#}"
    );
}
