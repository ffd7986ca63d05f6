//! A Debian with systemd as pid 1, in a container that has no network, and magi installed in it.
//!
//! `cargo xtask test systemd` makes the image and the package, and tells of both by variables. A test
//! makes a [`Container`], runs commands in it as root, and waits for states. When a test fails, the
//! units' status and the end of the journal are shown; when a container is dropped, it is removed.

mod fleet;

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::Ran;

pub use fleet::{MODELS, PROFILE};

/// Names the image of the containers.
pub const IMAGE: &str = "MAGI_SYSTEMD_IMAGE";

/// Names the package that is tested.
pub const PACKAGE: &str = "MAGI_PACKAGE";

/// Names the archive that is tested.
pub const TARBALL: &str = "MAGI_TARBALL";

/// Marks the containers of tests, so that those of a run that was killed are found.
pub const LABEL: &str = "magi.test=systemd";

/// What systemd needs to be pid 1. Not `--privileged`: that asks for every capability, and machines in
/// machines lack some.
pub const RIGHTS: [&str; 12] = [
    "--cap-drop=SYS_RESOURCE",
    "--cap-add=SYS_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--cap-add=NET_ADMIN",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs=/run",
    "--tmpfs=/tmp",
    "--env=container=docker",
    // Loopback is all there is.
    "--network=none",
];

/// Starts systemd. It mounts the credentials of services, and in a container leaves it to others that such
/// mounts are seen by all.
const INIT: &str = "mount --make-rshared / && exec /sbin/init";

/// Where the package lies in a container.
pub const PACKAGE_INSIDE: &str = "/srv/magi.deb";

/// Where the archive lies in a container.
pub const TARBALL_INSIDE: &str = "/srv/magi.tar.gz";

/// How long a command may take, in seconds.
const COMMAND_SECONDS: &str = "120";

/// How often, and how many times, a state is looked for.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 400;

/// What is told of a container in which a test failed.
const EVIDENCE: &str = "systemctl --no-pager --lines=0 status magid magi-gateway
systemctl --no-pager --failed
magictl status
journalctl --no-pager --lines=80 --output=short-precise";

/// A running container.
pub struct Container {
    name: String,
}

impl Container {
    /// Boots one in which nothing of magi is installed. The package lies at [`PACKAGE_INSIDE`], a
    /// llama-server in `PATH`.
    ///
    /// # Panics
    ///
    /// Like every method here, with what there is to see, if something is not as it has to be.
    pub fn boot() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("magi-test-{}-{count}", std::process::id());
        let mount =
            |host: PathBuf, inside: &str| format!("--volume={}:{inside}:ro", host.display());
        let mut command = Command::new("docker");
        command
            .args(["run", "--detach", "--label", LABEL, "--name", &name])
            .args(RIGHTS)
            .arg(mount(told(PACKAGE), PACKAGE_INSIDE))
            .arg(mount(told(TARBALL), TARBALL_INSIDE))
            .arg(mount(
                told("LLAMA_SERVER_PATH"),
                "/usr/local/bin/llama-server",
            ))
            .arg(told(IMAGE))
            .args(["sh", "-c", INIT]);
        let container = Self { name };
        ran(command, "").expect_code(0);
        container.wait_up();
        container
    }

    /// Ends every process in it, and boots it again.
    #[track_caller]
    pub fn reboot(&self) {
        let mut command = Command::new("docker");
        // systemd would go on at a SIGTERM, which is docker's first try.
        command.args(["restart", "--time=0", &self.name]);
        ran(command, "").expect_code(0);
        self.wait_up();
    }

    #[track_caller]
    fn wait_up(&self) {
        self.wait("systemd is up", |container| {
            let state = container.try_run("systemctl is-system-running");
            state.stdout == "running\n"
        });
    }

    /// Runs a script as root, to its end, however that is.
    pub fn try_run(&self, script: &str) -> Ran {
        self.run_with(script, "")
    }

    /// Runs a script as root, which has to end with 0, and gives its output.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.try_run(script).expect_code(0).stdout
    }

    /// Writes a file, as root.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.run_with(&format!("cat > {path}"), text).expect_code(0);
    }

    /// Copies what is in a folder of this machine into one of the container.
    #[track_caller]
    pub fn copy(&self, folder: &Path, inside: &str) {
        let mut command = Command::new("docker");
        command
            .arg("cp")
            .arg(folder.join("."))
            .arg(format!("{}:{inside}", self.name));
        ran(command, "").expect_code(0);
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS {
            if is_so(self) {
                return;
            }
            thread::sleep(LOOK);
        }
        panic!("it never came: {what}");
    }

    fn run_with(&self, script: &str, input: &str) -> Ran {
        let mut command = Command::new("docker");
        command.args(["exec", "--interactive", &self.name]).args([
            "timeout",
            COMMAND_SECONDS,
            "bash",
            "-c",
            script,
        ]);
        Ran {
            command: script.to_owned(),
            ..ran(command, input)
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in the container:\n{}", self.try_run(EVIDENCE).all());
        }
        let mut remove = Command::new("docker");
        remove.args(["rm", "--force", "--volumes", &self.name]);
        // A panic in here would hide the one that counts.
        let _ = remove.stdout(Stdio::null()).status();
    }
}

/// What `cargo xtask test systemd` told.
fn told(variable: &str) -> PathBuf {
    env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: `cargo xtask test systemd` runs this"))
        .into()
}

/// Runs a program to its end.
fn ran(mut command: Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    // What reads nothing closes its end.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("cannot wait for {command:?}: {error}"));
    Ran {
        command: format!("{command:?}"),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
