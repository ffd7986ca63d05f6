//! A process that has nothing to do with magi, and has the pid of one that had.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use tokio::time::{sleep, timeout};

use super::fleet::LOOK;
use super::processes::is_alive;
use super::wait::DEADLINE;

/// The pid that the kernel gave out last; the next one follows it.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Others take pids too, so the one that is wanted is not always had at once.
const TRIES: usize = 1000;

/// A stranger, which leads a process group of its own. Killed when it is dropped.
pub struct Bystander(Child);

impl Bystander {
    /// Makes one that has `pid`, as soon as that is free: whoever had it must be dead, and is reaped
    /// by its parent sooner or later. `None` on a machine where pids cannot be chosen.
    ///
    /// # Panics
    ///
    /// If the pid does not get free.
    pub async fn with_pid(pid: u32) -> Option<Self> {
        let place = format!("/proc/{pid}");
        let reaped = async {
            while Path::new(&place).exists() {
                sleep(LOOK).await;
            }
        };
        let free = timeout(DEADLINE, reaped).await;
        free.unwrap_or_else(|_| panic!("pid {pid} does not get free"));
        for _ in 0..TRIES {
            fs::write(LAST_PID, (pid - 1).to_string()).ok()?;
            let child = Command::new("sleep")
                .arg("1000")
                .env_clear()
                .process_group(0)
                .spawn()
                .expect("sleep is on every machine");
            let bystander = Self(child);
            if bystander.0.id() == pid {
                return Some(bystander);
            }
        }
        panic!("cannot have pid {pid}: others took it {TRIES} times");
    }

    /// Whether nobody has killed it.
    pub fn is_alive(&self) -> bool {
        is_alive(self.0.id())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
