//! What the package brings, and what it leaves behind.

use magi_tests::container::{Container, PACKAGE_INSIDE};

/// Everything of magi's outside of what dpkg knows.
const TRACES: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /srv -o -path /tmp \\) -prune \
                      -o -name '*magi*' -print | grep -v -e /magic -e imagi | sort";

#[test]
fn an_installation_makes_users_and_folders_and_starts_nothing() {
    let container = Container::boot();
    let said = container.install(PACKAGE_INSIDE);
    assert!(!said.contains("warning"), "{said}");
    for unit in ["magid", "magi-gateway"] {
        assert_eq!(container.unit(unit, "ActiveState"), "inactive");
        assert_eq!(container.unit(unit, "NRestarts"), "0");
    }
    assert_eq!(container.run("pgrep -c 'magi|llama' || true"), "0\n");
    assert_eq!(
        container.run("tail -qn +2 /proc/net/tcp /proc/net/tcp6"),
        ""
    );
    let groups = container.run("id --groups --name magi");
    for group in ["magi", "magi-gateway", "render", "video"] {
        assert!(
            groups.split_whitespace().any(|has| has == group),
            "{groups}"
        );
    }
    assert_eq!(
        container.run("id --groups --name magi-gateway"),
        "magi-gateway\n"
    );
    let profiles = container.run("stat --format '%a %U:%G' /etc/magi/profiles");
    assert!(profiles.ends_with("root:magi\n"), "{profiles}");
    container.run("runuser -u magi -- test -w /etc/magi/profiles");
    container.run("runuser -u magi-gateway -- test -r /etc/magi/gateway.toml");
    for program in ["magid", "magictl", "magi-gateway"] {
        container.run(&format!("{program} --version"));
    }
}

#[test]
fn what_was_never_touched_is_gone_without_a_trace_after_a_purge() {
    let container = Container::boot();
    // So that what systemd itself writes at its first start is there before.
    let before = container.run(TRACES);
    container.install(PACKAGE_INSIDE);
    container.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y magi");
    assert_eq!(container.run(TRACES), before);
}

#[test]
fn a_removal_stops_all_and_keeps_the_configuration() {
    let container = Container::serving();
    container.run("systemctl enable --now magi-gateway");
    container.run("echo '# mine' >> /etc/magi/magid.toml");
    let said = container.run("DEBIAN_FRONTEND=noninteractive apt-get remove -y magi 2>&1");
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(container.run("pgrep -c 'magi|llama' || true"), "0\n");
    // Debian masks the units of what was removed and not purged.
    container.run("test ! -e /usr/bin/magid && ! systemctl start magid");
    container.run("grep '# mine' /etc/magi/magid.toml && test -e /var/lib/magi");

    // Who installs it again finds everything as it was.
    container.install(PACKAGE_INSIDE);
    container.run("grep '# mine' /etc/magi/magid.toml && systemctl start magid");
    container.wait_ready(2);
}

#[test]
fn a_purge_leaves_what_is_the_users_and_nothing_else() {
    let container = Container::serving();
    container.run("systemctl enable --now magid magi-gateway");
    container.run("cp /models/alpha.gguf /var/lib/magi/models/ && magictl profiles create mine");
    container.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y magi");
    assert_eq!(container.run("pgrep -c 'magi|llama' || true"), "0\n");
    container.run("ls /models/alpha.gguf /models/beta.gguf /models/gamma.gguf");
    let left = container.run(
        "find /etc/magi /var/lib/magi /var/log/magi /var/cache/magi /run/magi -type f 2>/dev/null \
         | sort",
    );
    assert_eq!(
        left,
        "/etc/magi/profiles/mine.toml\n/var/lib/magi/models/alpha.gguf\n"
    );
    let links = container.run("find /etc/systemd -name 'magi*'");
    assert_eq!(links, "");
}
