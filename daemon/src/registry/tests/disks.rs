//! Real disks that come, go and are full. Only root may mount them: others skip these.

use std::fs;
use std::process::Command;

use super::super::testing::gguf;
use super::*;

/// A small disk.
struct Disk(PathBuf);

impl Disk {
    /// None: whoever runs the tests may not mount one.
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then(|| Self(path.to_path_buf()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_disk_in_a_scan_path_can_be_unmounted_and_mounted_again() {
    let world = World::with(&["a.gguf"]).await;
    for _ in 0..2 {
        let Some(disk) = Disk::mount(&world.path("disk"), "1m") else {
            return;
        };
        write(&world.path("disk/b.gguf"), 2);
        assert_eq!(world.rescan().await.total, 2);
        assert!(world.model("b").is_available());
        drop(disk);
        for _ in 0..3 {
            let report = world.rescan().await;
            assert_eq!(report.total, 2);
            assert!(
                report.problems[0].contains("is its disk mounted?"),
                "{report:?}"
            );
        }
        assert!(unavailable(&world.model("b")).contains("disk is empty"));
    }
}

#[tokio::test]
async fn what_comes_after_a_disk_was_mounted_appears_by_itself() {
    let world = World::with(&[]).await;
    let Some(_disk) = Disk::mount(&world.path(""), "1m") else {
        return;
    };
    // Mounting causes no event.
    world.rescan().await;
    fs::write(world.path("b.gguf"), gguf("llama", 2, &[])).unwrap();
    world.until(|now| now.models.contains_key("b")).await;
}

#[tokio::test]
async fn on_a_full_disk_the_registry_goes_on_and_its_file_stays_whole() {
    let folder = TempDir::new().unwrap();
    let Some(_disk) = Disk::mount(&folder.path().join("state"), "64k") else {
        return;
    };
    write(&folder.path().join("models/a.gguf"), 1);
    let registry = start(folder.path()).await;
    registry.scanned().await;
    let world = World { folder, registry };
    world.on_disk().await;
    let before = fs::read_to_string(world.file()).unwrap();
    let filler = world.file().with_file_name("filler");
    let _ = fs::write(&filler, vec![0; 128 * 1024]);
    write(&world.path("b.gguf"), 2);
    world.rescan().await;
    world.on_disk().await;
    assert_eq!(world.ids(), ["a", "b"]);
    let problems = world.registry.snapshot().problems.clone();
    assert!(problems[0].contains("No space left"), "{problems:?}");
    assert_eq!(fs::read_to_string(world.file()).unwrap(), before);
    let files = fs::read_dir(filler.parent().unwrap()).unwrap();
    assert_eq!(files.count(), 2, "what could not be written is left");
    fs::remove_file(filler).unwrap();
    world.on_disk().await;
    world.until(|now| now.problems.is_empty()).await;
    assert!(fs::read_to_string(world.file()).unwrap().contains("b.gguf"));
}
