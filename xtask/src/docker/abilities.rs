//! What a machine has to allow before containers can run, each tried by itself in namespaces that end
//! with the trial: a machine that does not allow it is told from tests that fail.

use std::fmt::{self, Display, Formatter};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::PATH;

/// What is tried, as root: what it is for, and commands that end with 0 where it is allowed.
const TRIALS: [(&str, &str); 5] = [
    (
        "namespaces",
        "unshare --mount --uts --ipc --net --pid --fork true",
    ),
    (
        "mounting file systems",
        "unshare --mount mount -t tmpfs magi /mnt",
    ),
    (
        "a network of their own",
        "unshare --net sh -c 'ip link add magi0 type veth peer name magi1'",
    ),
    (
        "passing packets on",
        "unshare --mount --net sh -c 'iptables -t nat -S && echo 1 > /proc/sys/net/ipv4/ip_forward'",
    ),
    (
        "control groups",
        "folders=$(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); \
         for folder in ${folders:?none are mounted}; do \
         mkdir -p $folder/magi-trial; rmdir $folder/magi-trial; done",
    ),
];

/// A machine on which containers cannot run.
#[derive(Debug)]
pub(crate) struct Unable {
    /// What it does not allow.
    pub(crate) what: &'static str,
    /// What it says.
    pub(crate) why: String,
}

impl Display for Unable {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { what, why } = self;
        write!(
            formatter,
            "this machine cannot run containers, for it does not allow {what}: {why}"
        )
    }
}

impl std::error::Error for Unable {}

/// Tries everything.
///
/// # Errors
///
/// [`Unable`], with the first that is not allowed.
pub(super) fn ensure() -> Result<()> {
    for (what, commands) in TRIALS {
        let mut shell = Command::new("sh");
        shell.args(["-ec", commands]).env("PATH", PATH);
        allowed(what, &mut shell)?;
    }
    Ok(())
}

/// Runs what succeeds where something is allowed.
///
/// # Errors
///
/// [`Unable`], with what the command says.
pub(crate) fn allowed(what: &'static str, command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot try {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Unable { what, why }.into())
}
