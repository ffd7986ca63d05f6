//! What is seen of folders as people, programs and mishaps leave them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::AtomicU64;

use super::super::scan::walk;
use super::super::testing::{gguf, write_bytes};
use super::*;

#[tokio::test]
async fn names_with_spaces_and_of_all_scripts_are_ids_that_can_be_typed() {
    let world = World::with(&[
        "My Model (7B) Q4_K_M.gguf",
        "модель.gguf",
        "模型-7b.gguf",
        "new\nline.gguf",
        "a/x.gguf",
        "b/x.gguf",
    ])
    .await;
    let expected = ["7b", "model", "my-model-7b-q4_k_m", "new-line", "x", "x-b"];
    assert_eq!(world.ids(), expected);
}

#[tokio::test]
async fn a_name_that_is_not_text_is_told() {
    let world = World::with(&["a.gguf"]).await;
    let path = world.path("").join(OsStr::from_bytes(b"\xff.gguf"));
    write(&path, 1);
    let report = world.rescan().await;
    assert_eq!(report.total, 1);
    assert!(report.problems[0].contains("rename it"), "{report:?}");
}

#[tokio::test]
async fn hidden_files_other_endings_and_what_is_no_file_are_no_models() {
    let world = World::with(&["a.gguf", ".b.gguf", ".cache/c.gguf", "d.gguf.part"]).await;
    fs::create_dir(world.path("folder.gguf")).unwrap();
    nix::unistd::mkfifo(&world.path("pipe.gguf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", world.path("zero.gguf")).unwrap();
    let report = world.rescan().await;
    assert_eq!(world.ids(), ["a"]);
    assert_eq!(report.problems.len(), 2, "{report:?}");
    assert!(
        report
            .problems
            .iter()
            .all(|line| line.contains("not a regular file"))
    );
}

#[tokio::test]
async fn loops_of_symlinks_end_and_one_file_is_one_model_by_whatever_paths() {
    let world = World::with(&["a.gguf", "sub/b.gguf"]).await;
    symlink("..", world.path("sub/up")).unwrap();
    symlink("self", world.path("self")).unwrap();
    symlink(world.path("sub"), world.path("again")).unwrap();
    symlink(world.path("a.gguf"), world.path("link.gguf")).unwrap();
    fs::hard_link(world.path("a.gguf"), world.path("0-hard.gguf")).unwrap();
    let mut config = config(world.folder.path());
    config.scan_paths.push(scan_path(world.folder.path()));
    world.registry.configure(config);
    let report = world.rescan().await;
    assert_eq!(world.ids(), ["a", "b"]);
    assert_eq!(world.model("a").path, world.path("a.gguf"));
    assert!(report.added.is_empty(), "{report:?}");
}

#[tokio::test]
async fn the_shards_and_the_projector_of_a_model_belong_to_it() {
    let world = World::with(&[]).await;
    let shard = |number| gguf("llama", 10, &[("split.no", number), ("split.count", 2)]);
    write_bytes(&world.path("big-00001-of-00002.gguf"), &shard(0));
    assert_eq!(world.rescan().await.total, 0);
    assert!(world.registry.snapshot().problems[0].contains("big-00002-of-00002.gguf"));
    write_bytes(&world.path("big-00002-of-00002.gguf"), &shard(1));
    write_bytes(&world.path("mmproj-big.gguf"), &gguf("clip", 5, &[]));
    let report = world.rescan().await;
    assert_eq!((report.total, report.problems.len()), (1, 0), "{report:?}");
    let model = world.model("big");
    assert_eq!((model.files.len(), model.facts.parameters), (2, 20));
    assert_eq!(model.mmproj, Some(world.path("mmproj-big.gguf")));
    let facts = facts_of(&world.path("big-00002-of-00002.gguf")).unwrap();
    assert_eq!(facts.parameters, 20);
    assert!(
        facts_of(&world.path("mmproj-big.gguf"))
            .unwrap_err()
            .contains("projector")
    );
    fs::remove_file(world.path("big-00002-of-00002.gguf")).unwrap();
    world.rescan().await;
    assert!(unavailable(&world.model("big")).contains("big-00002-of-00002.gguf"));
}

#[tokio::test]
async fn of_a_repository_of_the_hub_the_newest_revision_is_the_model() {
    let world = World::with(&[]).await;
    let repository = world.path("models--Org--Repo");
    let blob = |name: &str, parameters| {
        write(&repository.join("blobs").join(name), parameters);
    };
    let link = |revision: &str, name: &str, blob: &str| {
        let folder = repository.join("snapshots").join(revision);
        fs::create_dir_all(&folder).unwrap();
        symlink(Path::new("../../blobs").join(blob), folder.join(name)).unwrap();
    };
    let head = |revision: &str| {
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), revision).unwrap();
    };
    blob("0aa", 1);
    blob("0bb.gguf", 2);
    link("1111", "x.gguf", "0aa");
    link("1111", "y.gguf", "0bb.gguf");
    head("1111");
    world.rescan().await;
    assert_eq!(world.ids(), ["x", "y"]);
    let change = OverridesChange {
        enabled: Change::Set(false),
        ..OverridesChange::default()
    };
    world.registry.set("x", change).await.unwrap();
    blob("0cc", 3);
    link("2222", "x.gguf", "0cc");
    head("2222");
    world.rescan().await;
    assert_eq!(world.ids(), ["x", "y"]);
    let model = world.model("x");
    assert_eq!(model.path, repository.join("snapshots/2222/x.gguf"));
    assert_eq!((model.facts.parameters, model.enabled()), (3, false));
    head("1111");
    world.rescan().await;
    assert_eq!(world.model("x").facts.parameters, 1);
    world.registry.delete("x").await.unwrap();
    head("2222");
    world.rescan().await;
    assert_eq!(world.ids(), ["y"]);
}

/// The thread that looks is another user than root, who may look at everything.
fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        nix::unistd::setfsuid(65534.into());
        nix::unistd::setfsgid(65534.into());
        work()
    });
    thread.join().unwrap()
}

#[test]
fn a_folder_without_permission_is_told_and_the_others_are_looked_at() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().to_path_buf();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    write(&root.join("a.gguf"), 1);
    write(&root.join("secret/b.gguf"), 2);
    fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o700)).unwrap();
    let path = scan_path(&root);
    let look = as_nobody(move || walk::walk(&path, &AtomicU64::new(0)));
    let why = &look.blocked[&root.join("secret")];
    if nix::unistd::geteuid().is_root() {
        assert!(why.contains("permission denied"), "{why}");
    }
    assert_eq!(look.files.len(), 1);
}

#[test]
fn folders_that_are_too_deep_are_told() {
    let folder = TempDir::new().unwrap();
    let deep: PathBuf = (0..40).fold(folder.path().to_path_buf(), |path, _| path.join("d"));
    write(&deep.join("a.gguf"), 1);
    let look = walk::walk(&scan_path(folder.path()), &AtomicU64::new(0));
    assert!(look.files.is_empty());
    assert_eq!(look.blocked.len(), 1);
}
