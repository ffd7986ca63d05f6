//! When the registry looks, what it keeps, and what it tells.

use std::fs;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::time::Instant;

use super::super::header;
use super::super::testing::{age, gguf, write_bytes};
use super::*;

#[tokio::test]
async fn after_a_restart_the_models_are_there_at_once_and_no_file_is_opened_again() {
    let mut world = World::with(&["a.gguf", "deep/er/b.gguf", "no-model.txt"]).await;
    write_bytes(&world.path("broken.gguf"), b"this is no GGUF file at all");
    world.rescan().await;
    world.on_disk().await;
    let before = world.registry.snapshot();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    let read = move |path: &Path| {
        count.fetch_add(1, Ordering::Relaxed);
        header::read(path)
    };
    world.registry = start_with(world.folder.path(), Arc::new(read)).await;
    let cached = world.registry.snapshot();
    assert_eq!(world.ids(), ["a", "b"]);
    assert!(cached.scanned_at.is_some());
    let same = |now: &Model, then: &Model| {
        let then = Model {
            last_seen: now.last_seen,
            ..then.clone()
        };
        *now == then
    };
    for (id, model) in &cached.models {
        assert!(same(model, &before.models[id]));
    }
    world.registry.scanned().await;
    assert_eq!(opened.load(Ordering::Relaxed), 0);
    assert_eq!(world.registry.snapshot().problems, before.problems);
}

#[tokio::test]
async fn without_a_file_the_first_snapshot_says_that_nothing_was_scanned() {
    let folder = TempDir::new().unwrap();
    let (release, hold) = mpsc::channel::<()>();
    let hold = Mutex::new(hold);
    write(&folder.path().join("models/a.gguf"), 100);
    let read = move |path: &Path| {
        let _ = hold.lock().unwrap().recv();
        header::read(path)
    };
    let registry = start_with(folder.path(), Arc::new(read)).await;
    assert_eq!(registry.snapshot().scanned_at, None);
    release.send(()).unwrap();
    registry.scanned().await;
    assert!(registry.snapshot().scanned_at.is_some());
    assert_eq!(ids(&registry), ["a"]);
}

#[tokio::test]
async fn a_copied_file_appears_by_itself_once_it_is_complete_and_not_before() {
    let world = World::with(&[]).await;
    let bytes = gguf("llama", 50_000, &[]);
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut file = fs::File::create(world.path("new.gguf")).unwrap();
    file.write_all(first).unwrap();
    // The copy pauses for longer than a file takes to settle.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let report = world.rescan().await;
    assert_eq!((report.total, &report.problems), (0, &vec![]));
    file.write_all(rest).unwrap();
    drop(file);
    let complete = Instant::now();
    world.until(|now| now.models.contains_key("new")).await;
    assert!(
        complete.elapsed() < Duration::from_secs(2),
        "{:?}",
        complete.elapsed()
    );
    assert_eq!(world.model("new").size_bytes, bytes.len() as u64);
}

#[tokio::test]
async fn a_file_in_a_new_folder_and_one_that_is_moved_in_appear_by_themselves() {
    let world = World::with(&[]).await;
    let elsewhere = world.folder.path().join("moved.gguf");
    write(&elsewhere, 7);
    fs::create_dir_all(world.path("new/folders")).unwrap();
    fs::rename(&elsewhere, world.path("new/folders/moved.gguf")).unwrap();
    world.until(|now| now.models.contains_key("moved")).await;
}

#[tokio::test]
async fn a_scan_path_that_appears_later_is_noticed() {
    let folder = TempDir::new().unwrap();
    let registry = start(folder.path()).await;
    registry.scanned().await;
    assert!(registry.snapshot().problems[0].contains("no such folder"));
    let world = World { folder, registry };
    write(&world.folder.path().join("other/a.gguf"), 7);
    fs::rename(
        world.folder.path().join("other"),
        world.folder.path().join("models"),
    )
    .unwrap();
    world
        .until(|now| now.models.contains_key("a") && now.problems.is_empty())
        .await;
}

#[tokio::test]
async fn a_model_that_is_overwritten_in_place_is_unavailable_until_it_is_complete() {
    let world = World::with(&["a.gguf"]).await;
    let bytes = gguf("llama", 5_000, &[]);
    fs::write(world.path("a.gguf"), &bytes[..100]).unwrap();
    world.until(|now| !now.models["a"].is_available()).await;
    assert_eq!(unavailable(&world.model("a")), "it is being written");
    fs::write(world.path("a.gguf"), &bytes).unwrap();
    world.until(|now| now.models["a"].is_available()).await;
    assert_eq!(world.model("a").facts.parameters, 5_000);
}

#[tokio::test]
async fn a_file_that_stays_broken_is_told_once_and_read_once() {
    let folder = TempDir::new().unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    let path = folder.path().join("models/a.gguf");
    write_bytes(&path, &gguf("llama", 5_000, &[])[..500]);
    let counted = move |path: &Path| {
        count.fetch_add(1, Ordering::Relaxed);
        header::read(path)
    };
    let registry = start_with(folder.path(), Arc::new(counted)).await;
    registry.rescan().await.unwrap();
    let report = registry.rescan().await.unwrap();
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0].contains("a.gguf: it ends at byte 500"),
        "{report:?}"
    );
    assert_eq!(read.load(Ordering::Relaxed), 1);
    write(&path, 5);
    assert_eq!(
        registry.rescan().await.unwrap().problems,
        Vec::<String>::new()
    );
    assert_eq!(ids(&registry), ["a"]);
}

#[tokio::test]
async fn whoever_asks_during_a_scan_gets_one_that_began_after_he_asked() {
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("models/a.gguf"), 1);
    let (began, mut begins) = tokio::sync::mpsc::channel(8);
    let (release, hold) = mpsc::channel::<()>();
    let hold = Mutex::new(hold);
    let read = move |path: &Path| {
        began.blocking_send(()).unwrap();
        let _ = hold.lock().unwrap().recv();
        header::read(path)
    };
    let registry = start_with(folder.path(), Arc::new(read)).await;
    begins.recv().await.unwrap();
    // The walk of the scan under way has not seen this.
    write(&folder.path().join("models/b.gguf"), 2);
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.rescan().await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(release);
    for asked in asked {
        assert_eq!(asked.await.unwrap().total, 2);
    }
}

#[tokio::test]
async fn too_many_requests_are_refused_and_none_waits_in_vain() {
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("models/a.gguf"), 1);
    let (release, hold) = mpsc::channel::<()>();
    let hold = Mutex::new(hold);
    let read = move |path: &Path| {
        let _ = hold.lock().unwrap().recv();
        header::read(path)
    };
    let registry = start_with(folder.path(), Arc::new(read)).await;
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.rescan().await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(release);
    let mut busy = 0;
    for asked in asked {
        match asked.await.unwrap() {
            Ok(report) => assert_eq!(report.total, 1),
            Err(error) => {
                assert_eq!(error, RegistryError::Busy);
                busy += 1;
            }
        }
    }
    assert!(busy >= 72, "{busy}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_and_written_when_it_can_be() {
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("models/a.gguf"), 1);
    let state = folder.path().join("state");
    fs::write(&state, "in the way").unwrap();
    let registry = start(folder.path()).await;
    let world = World { folder, registry };
    world
        .until(|now| {
            now.problems
                .iter()
                .any(|line| line.contains("cannot write"))
        })
        .await;
    assert_eq!(world.ids(), ["a"]);
    fs::remove_file(&state).unwrap();
    write(&world.path("b.gguf"), 2);
    world.rescan().await;
    world.until(|now| now.problems.is_empty()).await;
    assert!(fs::read_to_string(world.file()).unwrap().contains("\"b\""));
}

#[tokio::test]
async fn a_broken_file_is_set_aside_and_a_later_version_is_never_overwritten() {
    let mut world = World::with(&["a.gguf"]).await;
    world.on_disk().await;
    fs::write(world.file(), "{").unwrap();
    world.restart().await;
    world.registry.scanned().await;
    assert_eq!(
        fs::read_to_string(world.file().with_extension("broken")).unwrap(),
        "{"
    );
    assert_eq!(world.ids(), ["a"]);
    world.on_disk().await;

    let later = r#"{"version": 2, "models": {}}"#;
    fs::write(world.file(), later).unwrap();
    world.restart().await;
    world.registry.scanned().await;
    let change = OverridesChange {
        enabled: Change::Set(false),
        ..OverridesChange::default()
    };
    let model = world.registry.set("a", change).await.unwrap();
    assert!(!model.enabled());
    assert_eq!(fs::read_to_string(world.file()).unwrap(), later);
    assert!(world.registry.snapshot().problems[0].contains("version 2"));
}

#[tokio::test]
async fn a_scan_that_finds_everything_as_it_was_wakes_nobody() {
    let world = World::with(&["a.gguf"]).await;
    world.rescan().await;
    let mut followed = world.registry.subscribe();
    let before = followed.borrow_and_update().clone();
    world.rescan().await;
    assert!(!followed.has_changed().unwrap());
    let now = world.registry.snapshot();
    assert_eq!(now.revision, before.revision);
    let last_seen = |snapshot: &Snapshot| snapshot.last_seen(&snapshot.models["a"]);
    assert!(last_seen(&now) > last_seen(&before));
}

#[tokio::test]
async fn new_scan_paths_and_tiers_are_taken_up() {
    let world = World::with(&["a.gguf"]).await;
    let other = world.folder.path().join("other");
    write(&other.join("b.gguf"), 2);
    let mut config = config(world.folder.path());
    config.scan_paths.push(scan_path(&other));
    config.tiers = TierRule {
        fast: 0,
        balanced: 0,
    };
    world.registry.configure(config);
    assert_eq!(world.rescan().await.total, 2);
    assert_eq!(world.model("a").tier(), crate::gguf::Tier::Powerful);
}

#[tokio::test]
async fn a_file_that_was_written_just_now_needs_no_clock_that_is_right() {
    let world = World::with(&[]).await;
    write(&world.path("a.gguf"), 1);
    // Its time is in the future, as that of a file server whose clock is ahead.
    let path = world.path("a.gguf");
    let touched = std::process::Command::new("touch")
        .args(["-d", "2099-01-01"])
        .arg(&path)
        .status();
    assert!(touched.unwrap().success());
    world.until(|now| now.models.contains_key("a")).await;
    age(&path);
}
