//! magid as a unit: started, watched, stopped.

use magi_tests::container::Container;

const DROP_IN: &str = "/etc/systemd/system/magid.service.d/test.conf";

#[test]
fn a_start_brings_the_fleet_of_the_active_profile() {
    let container = Container::serving();
    assert_eq!(container.status()["profile"], "development");
    for name in ["alpha", "beta"] {
        let server = container.server(name);
        let user = container.run(&format!("stat --format %U /proc/{}", server["pid"]));
        assert_eq!(user, "magi\n");
        let endpoint = server["endpoint"].as_str().unwrap();
        container.run(&format!("curl --silent --fail {endpoint}/health"));
    }
    container.wait("the unit says what runs", |container| {
        container.unit("magid", "StatusText") == "2 servers: 2 ready"
    });
    let shown = container.run("systemctl status --no-pager magid");
    assert!(shown.contains("Status: \"2 servers: 2 ready\""), "{shown}");
    // magid itself opens no port: those of the servers are all there are.
    let listening = container.run("grep -c ' 0A ' /proc/net/tcp");
    assert_eq!(listening, "2\n");
}

#[test]
fn a_stop_leaves_no_process_and_no_socket() {
    let container = Container::serving();
    let began = container.run("date +%s");
    container.run("systemctl stop magid");
    assert_eq!(container.unit("magid", "Result"), "success");
    assert_eq!(container.run("pgrep -c 'magi|llama' || true"), "0\n");
    container.run("test ! -e /run/magi/magid.sock");
    let seconds = format!("test $(( $(date +%s) - {} )) -le 15", began.trim());
    container.run(&seconds);
    // With a daemon that is not there, this is said with the status for it.
    container.try_run("magictl status").expect_code(69);
    container.run("systemctl start magid");
    container.wait_ready(2);
}

#[test]
fn a_broken_magid_toml_is_told_and_not_tried_again() {
    let container = Container::installed();
    container.write("/etc/magi/magid.toml", "[logs]\nkeep = \"many\"\n");
    let started = container.try_run("systemctl start magid");
    assert_eq!(started.code, Some(1), "{started:#?}");
    assert_eq!(container.unit("magid", "ActiveState"), "failed");
    assert_eq!(container.unit("magid", "ExecMainStatus"), "78");
    assert_eq!(container.unit("magid", "NRestarts"), "0");
    let journal = container.run("journalctl --no-pager --unit magid");
    assert!(journal.contains("/etc/magi/magid.toml:2:8"), "{journal}");

    container.write("/etc/magi/magid.toml", "[logs]\nkeep = 3\n");
    container.run("systemctl start magid");
    container.wait_ready(2);
}

#[test]
fn a_magid_that_is_killed_comes_back_with_its_fleet() {
    let container = Container::serving();
    let old = [container.pid("alpha"), container.pid("beta")];
    let magid = container.unit("magid", "MainPID");
    container.run(&format!("kill -9 {magid}"));
    container.wait("magid runs again", |container| {
        container.unit("magid", "NRestarts") == "1"
    });
    container.wait_ready(2);
    assert_ne!(container.unit("magid", "MainPID"), magid);
    // Until servers are adopted, none of the old ones may be left beside the new ones.
    assert_eq!(container.run("pgrep -c llama-server"), "2\n");
    for pid in old {
        container.run(&format!("test ! -e /proc/{pid}"));
    }
}

#[test]
fn a_magid_that_hangs_is_replaced_by_the_watchdog() {
    let container = Container::installed();
    container.run("systemctl cat magid | grep ^WatchdogSec=30s");
    container.run("mkdir -p /etc/systemd/system/magid.service.d");
    // As shipped, only sooner.
    container.write(DROP_IN, "[Service]\nWatchdogSec=2s\n");
    container.run("systemctl daemon-reload && systemctl start magid");
    container.wait_ready(2);
    let magid = container.unit("magid", "MainPID");
    container.run(&format!("kill -STOP {magid}"));
    container.wait("magid runs again", |container| {
        container.unit("magid", "NRestarts") == "1"
    });
    container.wait_ready(2);
    let journal = container.run("journalctl --no-pager --unit magid");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_eq!(container.run("pgrep -c llama-server"), "2\n");
}

#[test]
fn what_is_enabled_is_there_again_after_a_boot() {
    let container = Container::serving();
    container.run("systemctl enable --now magid magi-gateway && magictl stop beta");
    container.reboot();
    container.wait("the fleet is as it was", |container| {
        let ran = container.try_run("magictl status alpha");
        ran.code == Some(0) && container.server("beta")["state"] == "stopped"
    });
    assert!(container.ask("alpha").contains("alpha"));
    assert_eq!(container.unit("magid", "NRestarts"), "0");
    assert_eq!(container.unit("magi-gateway", "NRestarts"), "0");
}

#[test]
fn members_of_the_group_command_magid_and_others_do_not() {
    let container = Container::serving();
    container.run("useradd me && useradd other && usermod --append --groups magi me");
    container.run("runuser -u me -- magictl restart alpha");
    let denied = container.try_run("runuser -u other -- magictl status");
    assert_eq!(denied.code, Some(77), "{denied:#?}");
    assert!(denied.stderr.contains("usermod"), "{denied:#?}");
}

#[test]
fn magid_writes_profiles_in_its_sandbox() {
    let container = Container::serving();
    container.run("magictl profiles create other && magictl profiles list | grep other");
    container.serve(&["alpha"], "");
    container.run("magictl reload");
    container.run("magictl rollback 1");
    container.wait_ready(2);
    container.run("grep beta /etc/magi/profiles/development.toml");
    container.run("magictl profiles delete other");
    let checked = container.try_run("magictl check --live");
    assert_eq!(checked.code, Some(0), "{checked:#?}");
}
