//! The unit that is shipped is one that systemd takes.

use std::fs;
use std::process::Command;

use magi_tests::harness::{program, skipped};

#[test]
fn systemd_takes_the_unit_without_a_complaint() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/magid.service");
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("magid.service");
    let text = fs::read_to_string(shipped)
        .unwrap()
        .replace("/usr/bin/magid", &program("magid").display().to_string())
        .replace(
            "/usr/bin/magictl",
            &program("magictl").display().to_string(),
        );
    fs::write(&unit, text).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output();
    let Ok(verified) = verified else {
        return skipped("there is no systemd-analyze: apt-get install systemd");
    };
    let complaints = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> = complaints
        .lines()
        .filter(|line| line.contains("magid"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{complaints}");
}
