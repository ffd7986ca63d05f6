//! A newer package over one that runs.

use magi_tests::container::{Container, PACKAGE_INSIDE};

/// The same package with a higher version.
const NEWER: &str = "/root/newer.deb";

fn make_newer(container: &Container) {
    container.run(&format!(
        "dpkg-deb --raw-extract {PACKAGE_INSIDE} /root/newer \
         && sed -i 's/^Version: .*/Version: 999.0-1/' /root/newer/DEBIAN/control \
         && dpkg-deb -Zgzip -z1 --build /root/newer {NEWER}"
    ));
}

#[test]
fn an_upgrade_restarts_what_ran_and_keeps_the_configuration() {
    let container = Container::serving();
    make_newer(&container);
    container.run("echo '# mine' >> /etc/magi/magid.toml");
    container.run("systemctl enable --now magi-gateway && magictl stop beta");
    let magid = container.unit("magid", "MainPID");
    let gateway = container.unit("magi-gateway", "MainPID");
    let said = container.install(NEWER);
    assert!(!said.contains("warning"), "{said}");

    container.run("dpkg-query --show magi | grep 999.0-1");
    container.run("grep '# mine' /etc/magi/magid.toml");
    assert_ne!(container.unit("magid", "MainPID"), magid);
    assert_ne!(container.unit("magi-gateway", "MainPID"), gateway);
    for unit in ["magid", "magi-gateway"] {
        assert_eq!(container.unit(unit, "ActiveState"), "active");
    }
    assert_eq!(container.unit("magi-gateway", "UnitFileState"), "enabled");
    container.wait("the fleet is as it was", |container| {
        container.server("alpha")["state"] == "ready"
            && container.server("beta")["state"] == "stopped"
    });
    assert!(container.ask("alpha").contains("alpha"));
}

#[test]
fn an_upgrade_starts_nothing_that_did_not_run() {
    let container = Container::serving();
    make_newer(&container);
    container.install(NEWER);
    assert_eq!(container.unit("magid", "ActiveState"), "active");
    assert_eq!(container.unit("magi-gateway", "ActiveState"), "inactive");
    assert_ne!(container.unit("magi-gateway", "UnitFileState"), "enabled");

    container.run("systemctl start magi-gateway && systemctl stop magid");
    container.install(PACKAGE_INSIDE);
    assert_eq!(container.unit("magi-gateway", "ActiveState"), "active");
    assert_eq!(container.unit("magid", "ActiveState"), "inactive");

    container.run("systemctl stop magi-gateway");
    container.install(NEWER);
    assert_eq!(container.run("pgrep -c 'magi|llama' || true"), "0\n");
}
