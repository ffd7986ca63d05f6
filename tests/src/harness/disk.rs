//! A small disk of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk in memory, mounted somewhere. Unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts a disk of this many bytes on a folder, which is made. `None` for those who may not.
    ///
    /// # Panics
    ///
    /// If the folder cannot be made.
    pub fn mount(folder: &Path, bytes: usize) -> Option<Self> {
        fs::create_dir_all(folder).expect("the directory is writable");
        let options = format!("size={bytes},mode=0755");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .output();
        let mounted = mount.is_ok_and(|mount| mount.status.success());
        mounted.then(|| Self(folder.to_path_buf()))
    }

    /// Writes a file until not even one byte fits any more, and gives its path.
    ///
    /// # Panics
    ///
    /// If nothing can be written at all.
    pub fn fill(&self) -> PathBuf {
        let filler = self.filler();
        let mut file = File::create(&filler).expect("a full disk takes an empty file");
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        filler
    }

    /// Gives the room back.
    ///
    /// # Panics
    ///
    /// If it was not filled.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever has a file open there may be killed only later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
