//! Edits, good and bad, by systemctl and by magictl.

use magi_tests::container::{Container, PROFILE};

/// What is appended to the profile: alpha's other context, and something that is no key.
const GOOD: &str = "ctx_size = 1024\n";
const BAD: &str = "ctx-size = 1024\n";

#[test]
fn a_good_edit_is_applied_by_systemctl_reload() {
    let container = Container::serving();
    let (alpha, beta) = (container.pid("alpha"), container.pid("beta"));
    container.serve(&["alpha", "beta"], GOOD);
    container.run("systemctl reload magid");
    let shown = container.run("magictl explain beta");
    assert!(shown.contains("1024"), "{shown}");
    assert_eq!(container.pid("alpha"), alpha, "it is not touched");
    assert_ne!(container.pid("beta"), beta, "it is replaced");
    assert_eq!(container.unit("magid", "ActiveState"), "active");
    // magid may have seen the edit by itself before it is asked; it tells of it in any case.
    let journal = container.run("journalctl --no-pager --unit magid");
    assert!(journal.contains("ctx_size: 2048 -> 1024"), "{journal}");
}

#[test]
fn a_bad_edit_fails_the_reload_and_changes_nothing() {
    let container = Container::serving();
    let pids = [container.pid("alpha"), container.pid("beta")];
    container.serve(&["alpha", "beta"], BAD);
    let reload = container.try_run("systemctl reload magid");
    assert_eq!(reload.code, Some(1), "{reload:#?}");
    assert_eq!(container.unit("magid", "ActiveState"), "active");
    assert_eq!([container.pid("alpha"), container.pid("beta")], pids);
    let lines = container.run(&format!("grep -n ctx-size {PROFILE} | cut -d: -f1"));
    let place = format!("{PROFILE}:{}:1", lines.trim());
    let journal = container.run("journalctl --no-pager --unit magid");
    assert!(journal.contains(&place), "no {place} in {journal}");
    let status = container.status();
    assert_eq!(status["config"]["state"], "invalid", "{status:#}");

    // The units' own verdict is that of the command.
    container.try_run("magictl reload").expect_code(78);
    container.serve(&["alpha", "beta"], "");
    container.try_run("magictl reload").expect_code(0);
    container.run("systemctl reload magid");
    assert_eq!([container.pid("alpha"), container.pid("beta")], pids);
}

#[test]
fn a_server_is_added_and_removed_by_magictl_reload() {
    let container = Container::serving();
    container.serve(&["alpha", "gamma"], "");
    container.try_run("magictl reload").expect_code(0);
    assert_eq!(container.server("gamma")["state"], "ready");
    assert!(container.server("beta").is_null());
    assert_eq!(container.run("pgrep -c llama-server"), "2\n");
}
