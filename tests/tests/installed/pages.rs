//! The commands of the pages of documentation, as root of an installed magi types them.

use magi_tests::container::{Container, PACKAGE_INSIDE, TARBALL_INSIDE};
use magi_tests::page;

/// Where the commands are typed, which everybody may see.
const FOLDER: &str = "/srv/work";

/// Runs what a page shows, block by block; each line has to end with 0.
#[track_caller]
fn run(container: &Container, mark: &str, page: &str) {
    let blocks = page::commands_marked(mark, page).unwrap();
    assert!(!blocks.is_empty(), "{page} has no `{mark}`");
    for block in blocks {
        container.run(&format!("cd {FOLDER}; set -e\n{block}"));
    }
}

#[test]
fn the_commands_for_an_installation_work() {
    let container = Container::boot();
    container.run(&format!(
        "useradd me; mkdir {FOLDER}; cp {PACKAGE_INSIDE} {FOLDER}/magi_0.1.0-1_amd64.deb"
    ));
    run(&container, "sh", "install.md");
    container.wait("the gateway answers", |container| {
        let health = "curl --silent --fail http://127.0.0.1:8000/health";
        container.try_run(health).code == Some(0)
    });
    container.run("runuser -u me -- magictl status");
}

#[test]
fn the_commands_for_the_archive_work() {
    let container = Container::boot();
    container.run(&format!(
        "mkdir {FOLDER}; cp {TARBALL_INSIDE} {FOLDER}/magi-0.1.0-x.tar.gz"
    ));
    run(&container, "sh tarball", "install.md");
    container.run("systemctl start magid magi-gateway && magictl check --critical");
    container.run("curl --silent --fail http://127.0.0.1:8000/v1/models");
}

#[test]
fn the_commands_for_one_person_work() {
    let container = Container::installed();
    container.run(
        "useradd --create-home me; mkdir /home/me/models; cp /models/alpha.gguf /home/me/models; \
         loginctl enable-linger me",
    );
    container.wait("the user has a systemd", |container| {
        let up = container.try_run("systemctl is-active user@$(id -u me)");
        up.code == Some(0)
    });
    for block in page::commands_marked("sh user", "install.md").unwrap() {
        container.write("/tmp/block", &block);
        container.run(
            "runuser -u me -- env XDG_RUNTIME_DIR=/run/user/$(id -u me) HOME=/home/me sh -e /tmp/block",
        );
    }
    // It may be known as a model before it is one of the servers.
    container.wait("the model is served", |container| {
        let health = "curl --silent --fail http://127.0.0.1:8000/upstream/alpha/health";
        container.try_run(health).code == Some(0)
    });
    let answer = container.ask("alpha");
    assert!(answer.contains("alpha"), "{answer}");
    let owner = container.run("stat --format %U /proc/$(pgrep llama-server)");
    assert_eq!(owner, "me\n");
}

#[test]
fn the_commands_for_checks_and_profiles_and_generations_work() {
    let container = Container::serving();
    container.run(&format!(
        "mkdir -p {FOLDER}/profiles; cd {FOLDER}; touch magid.toml; \
         cp /etc/magi/profiles/development.toml x.toml; cp x.toml other.toml"
    ));
    run(&container, "sh", "check.md");
    for number in 2..=7 {
        container.serve(&["alpha", "beta"], &format!("priority = {number}\n"));
        container.run("magictl reload");
    }
    assert_eq!(container.status()["generation"], 7);
    run(&container, "sh", "profiles.md");
    run(&container, "sh", "generations.md");
}

#[test]
fn the_commands_for_requests_and_keys_work() {
    let container = Container::serving();
    container.write(
        "/etc/magi/magid.toml",
        "[control]\ngateway = \"administer\"\n",
    );
    container.run("systemctl reload magid; systemctl start magi-gateway");
    container.run(&format!("mkdir {FOLDER}"));
    run(&container, "sh", "rest.md");
    run(&container, "sh", "api.md");
    container.run("magictl keys delete app");
    run(&container, "sh", "keys.md");
}
