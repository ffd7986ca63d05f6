//! What users say of models, and what becomes of it.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::gguf::Tier;

fn powerful() -> OverridesChange {
    OverridesChange {
        tier: Change::Set(Tier::Powerful),
        ..OverridesChange::default()
    }
}

#[tokio::test]
async fn what_a_user_says_survives_scans_and_restarts_and_can_be_taken_back() {
    let mut world = World::with(&["A model.gguf"]).await;
    // A model can be named by its file, too.
    world
        .registry
        .set("A model.gguf", powerful())
        .await
        .unwrap();
    world.rescan().await;
    world.restart().await;
    assert_eq!(world.model("a-model").tier(), Tier::Powerful);
    world.registry.scanned().await;
    assert_eq!(world.model("a-model").tier(), Tier::Powerful);
    let back = OverridesChange {
        tier: Change::Reset,
        ..OverridesChange::default()
    };
    let model = world.registry.set("a-model", back).await.unwrap();
    assert_eq!(
        (model.tier(), model.overrides.is_empty()),
        (Tier::Fast, true)
    );
}

#[tokio::test]
async fn a_name_that_nothing_has_is_answered_with_what_is_near() {
    let world = World::with(&["qwen-7b.gguf", "a/x.gguf", "b/x.gguf"]).await;
    let error = world.registry.set("qwen-8b", powerful()).await.unwrap_err();
    assert!(error.to_string().contains("near it: qwen-7b"), "{error}");
    let error = world.registry.delete("x.gguf").await.unwrap_err();
    assert!(error.to_string().contains("more than once: x ("), "{error}");
    let error = world.registry.delete("/no/such.gguf").await.unwrap_err();
    assert!(matches!(
        error,
        RegistryError::NotFound(NotFound::NoSuchModel { .. })
    ));
}

#[tokio::test]
async fn a_file_that_is_moved_or_renamed_keeps_its_id_and_what_was_said_of_it() {
    let world = World::with(&["a/x.gguf", "a/y.gguf"]).await;
    world.registry.set("x", powerful()).await.unwrap();
    let first_seen = world.model("x").first_seen;
    fs::rename(world.path("a"), world.path("b")).unwrap();
    fs::rename(world.path("b/y.gguf"), world.path("b/other.gguf")).unwrap();
    world.rescan().await;
    assert_eq!(world.ids(), ["x", "y"]);
    let model = world.model("x");
    assert_eq!(model.path, world.path("b/x.gguf"));
    assert_eq!(
        (model.tier(), model.first_seen),
        (Tier::Powerful, first_seen)
    );
    assert_eq!(world.model("y").path, world.path("b/other.gguf"));
}

#[tokio::test]
async fn of_two_files_that_are_alike_none_is_taken_for_the_other() {
    let world = World::with(&["a.gguf"]).await;
    let bytes = fs::read(world.path("a.gguf")).unwrap();
    fs::remove_file(world.path("a.gguf")).unwrap();
    for name in ["b.gguf", "c.gguf"] {
        super::super::testing::write_bytes(&world.path(name), &bytes);
    }
    world.rescan().await;
    assert_eq!(world.ids(), ["a", "b", "c"]);
    assert_eq!(unavailable(&world.model("a")), "its file is gone");
}

#[tokio::test]
async fn a_deleted_file_is_told_and_may_come_back() {
    let world = World::with(&["a.gguf", "b.gguf", "c.gguf"]).await;
    world.registry.set("b", powerful()).await.unwrap();
    for name in ["a.gguf", "b.gguf"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    world
        .until(|now| {
            now.models
                .get("a")
                .is_none_or(|model| !model.is_available())
        })
        .await;
    world.rescan().await;
    world.rescan().await;
    assert_eq!(world.ids(), ["a", "b", "c"]);
    assert_eq!(unavailable(&world.model("b")), "its file is gone");
    write(&world.path("b.gguf"), 101);
    world.rescan().await;
    assert_eq!(world.model("b").tier(), Tier::Powerful);
    assert!(world.model("b").is_available());
}

#[tokio::test]
async fn a_scan_path_that_is_gone_or_suddenly_empty_forgets_nothing() {
    let world = World::with(&["a.gguf", "sub/b.gguf"]).await;
    world.registry.set("b", powerful()).await.unwrap();
    let (models, aside) = (world.path(""), world.folder.path().join("aside"));
    for is_empty in [false, true] {
        fs::rename(&models, &aside).unwrap();
        if is_empty {
            fs::create_dir(&models).unwrap();
        }
        for _ in 0..3 {
            let report = world.rescan().await;
            assert_eq!(report.total, 2);
            assert!(
                report.problems[0].contains("2 models are unavailable"),
                "{report:?}"
            );
        }
        let expected = if is_empty {
            "is empty"
        } else {
            "no such folder"
        };
        let why = unavailable(&world.model("b")).to_owned();
        assert!(why.contains(expected), "{why}");
        let _ = fs::remove_dir(&models);
        fs::rename(&aside, &models).unwrap();
        let report = world.rescan().await;
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(world.model("a").is_available() && world.model("b").tier() == Tier::Powerful);
    }
}

#[tokio::test]
async fn a_link_to_a_disk_that_is_not_there_forgets_nothing() {
    let world = World::with(&[]).await;
    let disk = world.folder.path().join("disk");
    write(&disk.join("a.gguf"), 1);
    write(&disk.join("b.gguf"), 2);
    symlink(&disk, world.path("disk")).unwrap();
    fs::create_dir(world.path("links")).unwrap();
    symlink(disk.join("b.gguf"), world.path("links/b.gguf")).unwrap();
    assert_eq!(world.rescan().await.total, 2);
    fs::rename(&disk, world.folder.path().join("aside")).unwrap();
    for _ in 0..3 {
        assert_eq!(world.rescan().await.total, 2);
    }
    for id in ["a", "b"] {
        assert!(unavailable(&world.model(id)).contains("symlink that leads nowhere"));
    }
}

#[tokio::test]
async fn models_of_a_folder_that_is_no_scan_path_any_more_go_unless_something_was_said_of_them() {
    let world = World::with(&["a.gguf", "b.gguf"]).await;
    world.registry.set("b", powerful()).await.unwrap();
    let mut config = config(world.folder.path());
    config.scan_paths.clear();
    world.registry.configure(config);
    world.rescan().await;
    world.rescan().await;
    assert_eq!(world.ids(), ["b"]);
    assert_eq!(
        unavailable(&world.model("b")),
        "it is in no scan path any more"
    );
}

#[tokio::test]
async fn what_a_user_deletes_stays_away_until_it_is_named_again() {
    let mut world = World::with(&["a.gguf", "b.gguf"]).await;
    world.registry.delete("a").await.unwrap();
    assert!(world.path("a.gguf").exists());
    world.rescan().await;
    world.restart().await;
    world.registry.scanned().await;
    assert_eq!(world.ids(), ["b"]);
    let model = world
        .registry
        .create(&world.path("a.gguf"), Some("Mine"))
        .await
        .unwrap();
    assert_eq!(model.id.as_str(), "Mine");
    world.rescan().await;
    assert_eq!(world.ids(), ["Mine", "b"]);
}

#[tokio::test]
async fn a_deleted_model_whose_file_goes_and_comes_again_is_new() {
    let world = World::with(&["a.gguf", "b.gguf"]).await;
    world.registry.delete("a").await.unwrap();
    fs::remove_file(world.path("a.gguf")).unwrap();
    world.rescan().await;
    write(&world.path("a.gguf"), 9);
    world.rescan().await;
    assert_eq!(world.ids(), ["a", "b"]);
}

#[tokio::test]
async fn only_what_a_scan_finds_can_be_added() {
    let world = World::with(&["a.gguf", "b.gguf", ".hidden.gguf", "note.txt"]).await;
    let outside = world.folder.path().join("outside.gguf");
    write(&outside, 1);
    super::super::testing::write_bytes(&world.path("no.gguf"), b"nothing");
    let create = async |path: PathBuf, name| match world.registry.create(&path, name).await {
        Ok(model) => model.id.to_string(),
        Err(error) => error
            .to_string()
            .replace(&world.folder.path().display().to_string(), ""),
    };
    let escape = world.path("../outside.gguf");
    for (path, expected) in [
        (outside, "cannot add /outside.gguf: it is in no scan path"),
        (escape, "cannot add /models/../outside.gguf: "),
        (
            world.path("a.gguf"),
            "cannot add /models/a.gguf: the registry has it as a",
        ),
        (
            world.path("../models/a.gguf"),
            "cannot add /models/../models/a.gguf: the registry has it as a",
        ),
        (
            world.path(".hidden.gguf"),
            "cannot add /models/.hidden.gguf: what begins with a dot",
        ),
        (
            world.path("note.txt"),
            "cannot add /models/note.txt: the name of a model ends in .gguf",
        ),
        (world.path("no.gguf"), "cannot add /models/no.gguf: it "),
        (
            world.path("none.gguf"),
            "cannot add /models/none.gguf: No such file",
        ),
        (world.path("../models"), "cannot add "),
    ] {
        let answer = create(path, None).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
    world.registry.delete("a").await.unwrap();
    let taken = create(world.path("a.gguf"), Some("b")).await;
    assert_eq!(taken, "cannot add a model b: the registry has it as b");
    let bad = create(world.path("a.gguf"), Some("../x")).await;
    assert!(bad.starts_with("the id of a model cannot"), "{bad}");
    assert_eq!(create(world.path("a.gguf"), None).await, "a");
}
