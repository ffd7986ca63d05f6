//! Processes that cannot be killed, for a while.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;

use super::fleet::LOOK;

/// Where version 1 of the freezer is. Processes that version 2 froze can be killed.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// Frozen processes: signals wait until they are thawed, SIGKILL like all others, as they do for a
/// process that hangs in a driver. Dropped, it thaws them.
pub struct Freezer {
    group: PathBuf,
}

impl Freezer {
    /// Freezes processes. `None` on a machine where that cannot be done.
    ///
    /// # Panics
    ///
    /// If a process is gone.
    pub fn freeze(pids: &[u32]) -> Option<Self> {
        let first = pids.first().expect("somebody is to be frozen");
        let group = PathBuf::from(FREEZER).join(format!("magi-test-{first}"));
        fs::create_dir(&group).ok()?;
        let freezer = Self { group };
        for pid in pids {
            freezer.write("cgroup.procs", &pid.to_string());
        }
        freezer.write("freezer.state", "FROZEN");
        while freezer.state() != "FROZEN" {
            sleep(LOOK);
        }
        Some(freezer)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.group.join(file), text)
            .unwrap_or_else(|error| panic!("cannot write {text} into {file}: {error}"));
    }

    fn state(&self) -> String {
        let state = fs::read_to_string(self.group.join("freezer.state"));
        state
            .expect("the group is there until it is dropped")
            .trim()
            .into()
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("freezer.state"), "THAWED");
        // It can be removed once nobody is in it.
        for _ in 0..500 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            sleep(LOOK);
        }
    }
}
