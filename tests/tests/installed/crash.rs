//! A server that ends by itself, and what the journal has of it.

use magi_tests::container::Container;

/// The MESSAGE_ID of a server's end.
const EXITED: &str = "a8d5e6f7c2b14d3e9f0a1b2c3d4e5f16";

#[test]
fn a_server_that_is_killed_is_restarted_and_the_journal_says_why() {
    let container = Container::serving();
    let (alpha, beta) = (container.pid("alpha"), container.pid("beta"));
    container.run(&format!("kill -9 {alpha}"));
    container.wait("alpha is ready in a new process", |container| {
        let server = container.server("alpha");
        server["state"] == "ready" && server["pid"] != alpha
    });
    let server = container.server("alpha");
    assert_eq!(server["restarts"], 1, "{server:#}");
    assert_eq!(server["lastExit"]["signal"], 9, "{server:#}");
    assert_eq!(container.pid("beta"), beta, "the other one goes on");
    assert_eq!(container.unit("magid", "NRestarts"), "0");

    let warnings = container.journal("MAGI_SERVER=alpha --priority=warning");
    let exit = warnings
        .iter()
        .find(|entry| entry["MESSAGE_ID"] == EXITED)
        .unwrap_or_else(|| panic!("no exit among {warnings:#?}"));
    assert_eq!(exit["MAGI_SERVER"], "alpha", "{exit:#}");
    assert_eq!(exit["MAGI_INCARNATION"], "1", "{exit:#}");
    assert_eq!(exit["SYSLOG_IDENTIFIER"], "magid", "{exit:#}");
    assert_eq!(exit["_SYSTEMD_UNIT"], "magid.service", "{exit:#}");
    let backoff = warnings.iter().any(|entry| {
        entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.contains("backoff"))
    });
    assert!(backoff, "{warnings:#?}");
    let others = container.journal(&format!("MAGI_SERVER=beta MESSAGE_ID={EXITED}"));
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn the_output_of_a_server_is_in_the_journal_under_its_name() {
    let container = Container::serving();
    // What a server says is told after what it is.
    container.wait("what alpha says is in the journal", |container| {
        let lines = container.journal("--unit magid MAGI_SERVER=alpha MAGI_INCARNATION=1");
        let mut said = lines.iter().filter_map(|entry| entry["MESSAGE"].as_str());
        said.any(|text| text.contains("model loaded") || text.contains("server is listening"))
    });
}
