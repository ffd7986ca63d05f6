//! magi-gateway as a unit of its own: what it answers, and what it may.

use magi_tests::container::Container;

#[test]
fn the_gateway_answers_for_every_model_and_as_a_user_of_its_own() {
    let container = Container::serving();
    container.run("systemctl enable --now magi-gateway");
    assert_eq!(container.unit("magi-gateway", "UnitFileState"), "enabled");
    for model in ["alpha", "beta"] {
        let answer = container.ask(model);
        assert!(answer.contains(model), "{answer}");
    }
    let pid = container.unit("magi-gateway", "MainPID");
    let user = container.run(&format!("stat --format %U /proc/{pid}"));
    assert_eq!(user, "magi-gateway\n");
    // Neither the models nor magid's own socket are its business.
    container.run("! runuser -u magi-gateway -- magictl --socket /run/magi/magid.sock status");

    // It serves on while magid is away for a moment.
    container.run("systemctl restart magid");
    container.wait_ready(2);
    container.wait("the gateway serves again", |container| {
        container.http("GET", "/health").0 == "200"
    });
    assert!(container.ask("alpha").contains("alpha"));
    assert_eq!(container.unit("magi-gateway", "NRestarts"), "0");
}

#[test]
fn the_gateway_administers_only_if_magid_toml_says_so() {
    let container = Container::serving();
    container.run("systemctl start magi-gateway");
    let (status, body) = container.http("GET", "/api/models/servers");
    assert_eq!(status, "200", "{body}");
    assert!(body.contains("alpha"), "{body}");
    let pid = container.pid("alpha");
    let (status, body) = container.http("POST", "/api/models/alpha/restart");
    assert_eq!(status, "403", "{body}");
    assert!(body.contains("control-denied"), "{body}");
    assert_eq!(container.pid("alpha"), pid);

    container.write(
        "/etc/magi/magid.toml",
        "[control]\ngateway = \"administer\"\n",
    );
    container.run("systemctl reload magid");
    let (status, body) = container.http("POST", "/api/models/alpha/restart");
    assert_eq!(status, "200", "{body}");
    assert_ne!(container.pid("alpha"), pid);
    let (status, body) = container.http("POST", "/api/models/beta/stop");
    assert_eq!(status, "200", "{body}");
    assert_eq!(container.server("beta")["state"], "stopped");
}

#[test]
fn a_key_comes_from_the_credentials_of_systemd() {
    let container = Container::serving();
    let key = "sk-magi-of-the-credentials-of-systemd";
    container.run("mkdir -m 700 -p /etc/credstore");
    container.write("/etc/credstore/MAGI_API_KEY", key);
    container.run("systemctl start magi-gateway");
    assert_eq!(container.http("GET", "/v1/models").0, "401");
    let with_key = format!("--oauth2-bearer {key} --fail http://127.0.0.1:8000/v1/models");
    let models = container.run(&format!("curl --silent {with_key}"));
    assert!(models.contains("alpha"), "{models}");
}

#[test]
fn credentials_that_systemd_cannot_pass_on_are_missed_only_if_there_are_any() {
    let container = Container::serving();
    // The folder of the credentials is empty then, and root's.
    container.run("mount --make-rprivate / && systemctl start magi-gateway");
    assert_eq!(container.http("GET", "/v1/models").0, "200");

    container.run("mkdir -m 700 -p /etc/credstore");
    container.write(
        "/etc/credstore/MAGI_API_KEY",
        "sk-magi-that-nobody-is-told-of",
    );
    let restarted = container.try_run("systemctl restart magi-gateway");
    assert_eq!(restarted.code, Some(1), "{restarted:#?}");
    let journal = container.run("journalctl --no-pager --unit magi-gateway");
    assert!(journal.contains("cannot read the credential"), "{journal}");
    container.run("! curl --silent http://127.0.0.1:8000/v1/models");
}

#[test]
fn a_gateway_that_is_killed_comes_back_and_touches_nothing() {
    let container = Container::serving();
    container.run("systemctl start magi-gateway");
    let pid = container.pid("alpha");
    container.run(&format!(
        "kill -9 {}",
        container.unit("magi-gateway", "MainPID")
    ));
    container.wait("the gateway serves again", |container| {
        let health = "curl --silent --fail http://127.0.0.1:8000/health";
        container.try_run(health).code == Some(0)
    });
    assert!(container.ask("alpha").contains("alpha"));
    assert_eq!(container.pid("alpha"), pid);
}
