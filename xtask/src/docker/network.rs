//! A network of the test's own, with a way to the mirror of Debian packages.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::PATH;
use crate::cargo;

/// The namespace, and the link to it.
const NAME: &str = "magi-docker";
const LINK: &str = "magidk0";
const OTHER_END: &str = "magidk1";
const GATEWAY: &str = "10.99.8.1";
const ADDRESS: &str = "10.99.8.2";

/// Whether this machine passes packets on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A network namespace, which goes with this.
#[derive(Debug)]
pub(super) struct Network {
    /// What [`FORWARDING`] was.
    forwarding: String,
}

impl Network {
    /// Makes it anew.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(super) fn make() -> Result<Self> {
        let network = Self {
            forwarding: fs::read_to_string(FORWARDING)?,
        };
        network.remove();
        let ip = |line: &str| run("ip", line);
        ip(&format!("netns add {NAME}"))?;
        ip(&format!(
            "link add {LINK} type veth peer name {OTHER_END} netns {NAME}"
        ))?;
        ip(&format!("addr add {GATEWAY}/30 dev {LINK}"))?;
        ip(&format!("link set {LINK} up"))?;
        ip(&format!("-n {NAME} link set lo up"))?;
        ip(&format!("-n {NAME} addr add {ADDRESS}/30 dev {OTHER_END}"))?;
        ip(&format!("-n {NAME} link set {OTHER_END} up"))?;
        ip(&format!("-n {NAME} route add default via {GATEWAY}"))?;
        fs::write(FORWARDING, "1")?;
        for rule in rules() {
            run("iptables", &rule.replace("ACTION", "-I"))?;
        }
        Ok(network)
    }

    /// The command that runs a program inside.
    pub(super) fn inside(&self, program: &str) -> Command {
        // `ip netns exec` would mount another /sys, without the control groups.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{NAME}"))
            .arg(program)
            .env("PATH", PATH);
        command
    }

    fn remove(&self) {
        let quietly = |program: &str, line: &str| {
            let words = line.split(' ');
            let mut command = Command::new(program);
            let _ = command.args(words).stderr(Stdio::null()).status();
        };
        for rule in rules() {
            quietly("iptables", &rule.replace("ACTION", "-D"));
        }
        quietly("ip", &format!("link del {LINK}"));
        quietly("ip", &format!("netns del {NAME}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
        let _ = fs::write(FORWARDING, &self.forwarding);
    }
}

/// What lets the namespace reach the mirror.
fn rules() -> [String; 3] {
    [
        format!("-t nat ACTION POSTROUTING -s {ADDRESS} -j MASQUERADE"),
        format!("ACTION FORWARD -i {LINK} -j ACCEPT"),
        format!("ACTION FORWARD -o {LINK} -j ACCEPT"),
    ]
}

fn run(program: &str, line: &str) -> Result<()> {
    cargo::run(
        Command::new(program)
            .args(line.split(' '))
            .env("PATH", PATH),
    )
}
