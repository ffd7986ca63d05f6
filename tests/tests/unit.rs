//! The units that are shipped are ones that systemd takes, and confine what they run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use magi_tests::harness::{program, skipped};

/// The units of the system, and the exposure that is the most for each, in tenths.
const UNITS: [(&str, &str); 2] = [("magid.service", "20"), ("magi-gateway.service", "15")];

/// A unit as it is shipped.
fn shipped(name: &str) -> String {
    let path = format!("{}/../systemd/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

/// A copy that runs the programs that were just built.
fn copied(name: &str, folder: &Path) -> PathBuf {
    let mut text = shipped(name);
    for name in ["magid", "magictl", "magi-gateway"] {
        let line = |after: &str| format!("/usr/bin/{name}{after}");
        let built = program(name).display().to_string();
        for after in ["\n", " "] {
            text = text.replace(&line(after), &format!("{built}{after}"));
        }
    }
    let path = folder.join(Path::new(name).file_name().unwrap());
    fs::write(&path, text).unwrap();
    path
}

/// What systemd-analyze says, if there is one.
fn analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(arguments).arg("--no-pager").arg(unit);
    // What it asks of a user's manager; nothing is put there.
    analyze.env("XDG_RUNTIME_DIR", unit.parent().unwrap());
    let output = analyze.output().ok();
    if output.is_none() {
        skipped("there is no systemd-analyze: apt-get install systemd");
    }
    output
}

#[test]
fn systemd_takes_the_units_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let user = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for name in ["user/magid.service", "user/magi-gateway.service"] {
        units.push((copied(name, user.path()), "--user"));
    }
    for (name, _) in UNITS {
        units.push((copied(name, folder.path()), "--system"));
    }
    for (unit, manager) in units {
        let Some(verified) = analyze(&["verify", manager, "--man=no"], &unit) else {
            return;
        };
        let complaints = String::from_utf8_lossy(&verified.stderr);
        let ours: Vec<_> = complaints
            .lines()
            .filter(|line| line.contains("magi"))
            .collect();
        assert!(verified.status.success() && ours.is_empty(), "{complaints}");
    }
}

#[test]
fn the_units_expose_little() {
    let folder = tempfile::tempdir().unwrap();
    for (name, most) in UNITS {
        let unit = copied(name, folder.path());
        let threshold = format!("--threshold={most}");
        let Some(judged) = analyze(&["security", "--offline=yes", &threshold], &unit) else {
            return;
        };
        let report = String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success(), "{report}");
    }
}

#[test]
fn a_gpu_is_forbidden_by_the_drop_in_only() {
    let closed = |text: &str| {
        let mut lines = text.lines();
        lines.any(|line| {
            ["PrivateDevices=", "DeviceAllow=", "ProtectClock="]
                .iter()
                .any(|key| line.starts_with(key))
        })
    };
    assert!(!closed(&shipped("magid.service")));
    assert!(closed(&shipped("magid.service.d/cpu-only.conf")));
}
