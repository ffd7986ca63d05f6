//! The units that are shipped are ones that systemd takes.

use std::fs;
use std::process::Command;

use magi_tests::harness::{program, skipped};

const UNITS: [&str; 2] = ["magid.service", "magi-gateway.service"];

#[test]
fn systemd_takes_the_units_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS {
        let shipped = format!("{}/../systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut text = fs::read_to_string(shipped).unwrap();
        for name in ["magid", "magictl", "magi-gateway"] {
            let line = |after: &str| format!("/usr/bin/{name}{after}");
            let built = program(name).display().to_string();
            for after in ["\n", " "] {
                text = text.replace(&line(after), &format!("{built}{after}"));
            }
        }
        fs::write(folder.path().join(name), text).unwrap();
    }
    for name in UNITS {
        let verified = Command::new("systemd-analyze")
            .arg("verify")
            .arg(folder.path().join(name))
            .output();
        let Ok(verified) = verified else {
            return skipped("there is no systemd-analyze: apt-get install systemd");
        };
        let complaints = String::from_utf8_lossy(&verified.stderr);
        let ours: Vec<_> = complaints
            .lines()
            .filter(|line| line.contains("magi"))
            .collect();
        assert!(verified.status.success() && ours.is_empty(), "{complaints}");
    }
}
