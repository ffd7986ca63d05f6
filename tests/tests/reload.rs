//! Edits of the configuration, good and bad, as they reach a running fleet.

use magi_proto::v1::{ConfigState, ServerState};
use magi_tests::figure;
use magi_tests::harness::{Fleet, Server, Servers};
use nix::sys::signal::Signal;

async fn fleet(names: &[&str]) -> (Fleet, Servers) {
    let mut fleet = Fleet::new();
    fleet.save(&servers(names));
    fleet.start().await;
    let servers = fleet.all_ready(names.len()).await;
    (fleet, servers)
}

fn servers(names: &[&str]) -> Vec<Server> {
    names.iter().map(|name| Server::faulty(name)).collect()
}

fn pids(servers: &Servers) -> Vec<Option<u32>> {
    servers.values().map(|server| server.pid).collect()
}

const NO_MODEL: &str = "cannot find the model of server alpha";

/// A fleet whose models are where it does not look for them.
fn without_models() -> Fleet {
    let mut fleet = Fleet::new();
    let elsewhere = fleet.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    fleet.set("models.scan_paths", vec![elsewhere.to_str().unwrap()]);
    fleet
}

fn profile(fleet: &Fleet) -> String {
    std::fs::read_to_string(fleet.profile_path()).unwrap()
}

#[tokio::test]
async fn servers_may_come_together_with_the_folder_of_their_models() {
    let mut fleet = without_models();
    fleet.save(&[]);
    fleet.start().await;
    // From its first answer on magid has read its files: what is saved now is an edit.
    assert!(fleet.status().await.servers.is_empty());
    fleet.save(&servers(&["alpha"]));
    let refused = fleet.magictl(&["reload"]).await;
    assert!(refused.stderr.contains(NO_MODEL), "{refused:?}");
    let models = fleet.path("models");
    fleet.set("models.scan_paths", vec![models.to_str().unwrap()]);
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn a_reload_tells_again_of_the_model_that_was_missing_at_the_start() {
    let mut fleet = without_models();
    fleet.save(&servers(&["alpha"]));
    fleet.start().await;
    let unchanged = fleet.magictl(&["reload"]).await.expect_code(0);
    assert!(unchanged.stderr.contains(NO_MODEL), "{unchanged:?}");
}

#[tokio::test]
async fn a_dry_run_tells_the_plan_and_changes_nothing() {
    let (mut fleet, before) = fleet(&["alpha", "beta"]).await;
    // Events are not waited for: the plan is about what is on disk when it is asked for.
    let mut changed = servers(&["alpha", "gamma"]);
    changed[0] = changed[0].clone().set("ctx_size", 512);
    let text = profile(&fleet);
    fleet.save(&changed);
    let plan = fleet.magictl(&["plan", "-o", "json"]).await.expect_code(0);
    fleet.save_text(&text);
    let steps = plan.json()["steps"].to_string();
    assert!(steps.contains("ctx_size: unset -> 512"), "{steps}");
    for action in ["replace", "stop", "start"] {
        assert!(steps.contains(action), "{steps}");
    }
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    assert!(after.contains_key("alpha"));
    drop(before);
}

#[tokio::test]
async fn servers_come_and_go_with_the_profile() {
    let (mut fleet, before) = fleet(&["alpha", "beta"]).await;
    fleet.save(&servers(&["alpha", "gamma"]));
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    assert_eq!(after["alpha"].pid, before["alpha"].pid);
    assert!(after.contains_key("gamma") && !after.contains_key("beta"));
    fleet.magictl(&["status", "beta"]).await.expect_code(4);
}

/// R21, from outside: the property test is with the plan.
#[tokio::test]
async fn r21_what_means_nothing_restarts_nothing() {
    let (mut fleet, before) = fleet(&["alpha", "beta"]).await;
    let text = profile(&fleet);
    let (alpha, beta) = text.split_once("\n[servers.\"beta\"]").unwrap();
    let beta = format!("[servers.\"beta\"]{beta}");
    let edits = [
        format!("# a comment\n\n{text}\n\n"),
        text.replace(" = ", "   =  "),
        format!("{beta}\n{alpha}\n"),
        format!("{alpha}\nautostart = true\n{beta}\nrestart = {{ max_failures = 5 }}\n"),
    ];
    for edit in edits {
        fleet.save_text(&edit);
        fleet.magictl(&["reload"]).await.expect_code(0);
        assert_eq!(pids(&fleet.all_ready(2).await), pids(&before), "{edit}");
    }
}

#[tokio::test]
async fn aliases_and_policies_are_applied_to_a_running_server() {
    let (mut fleet, before) = fleet(&["alpha"]).await;
    let text = profile(&fleet);
    fleet.save_text(&format!(
        "{text}aliases = [\"gpt-4o\", \"x/y\"]\nrestart = {{ policy = \"never\" }}\n"
    ));
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.magictl(&["status", "x/y"]).await.expect_code(0);
    let explained = fleet.magictl(&["explain", "gpt-4o"]).await.expect_code(0);
    assert!(explained.stdout.contains("never"), "{explained:?}");
    assert_eq!(pids(&fleet.all_ready(1).await), pids(&before));
}

/// R20: whatever is wrong, everything that is wrong is told with its place, and nothing changes.
#[tokio::test]
async fn r20_a_broken_profile_changes_nothing_and_tells_every_place() {
    let (mut fleet, before) = fleet(&["alpha", "beta"]).await;
    let good = profile(&fleet);
    let stranger = "[servers.gamma]\nmodel = \"alpha.gguf\"\n";
    let broken: Vec<(String, &str)> = vec![
        (format!("{good}\n[servers.gamma"), "]"),
        (format!("{good}\nctx-size = 1\n"), "ctx_size"),
        (format!("{good}\nctx_size = \"many\"\n"), "ctx_size"),
        (format!("{good}\n{stranger}aliases = [\"x\", \"x\"]\n"), "x"),
        (
            format!("{good}\n{stranger}aliases = [\"alpha\"]\n"),
            "alpha",
        ),
        (
            format!("{good}\nport = 9001\n{stranger}port = 9001\n"),
            "9001",
        ),
        (
            format!("{good}\n{stranger}args = [\"--port\", \"1\"]\n"),
            "port",
        ),
        (
            format!("{good}\n{stranger}args = [\"-m\", \"x\"]\n"),
            "model",
        ),
        (
            format!("{good}\n{stranger}ctx_size = 1\nargs = [\"--ctx-size=2\"]\n"),
            "ctx_size",
        ),
        (
            format!("{good}\n{stranger}env = {{ LLAMA_ARG_CTX_SIZE = \"1\" }}\n"),
            "ctx_size",
        ),
        (
            format!("{good}\n[servers.\"a b\"]\nmodel = \"alpha.gguf\"\n"),
            "a b",
        ),
        (
            format!("{good}\n[servers.qwen2.5-7b]\nmodel = \"alpha.gguf\"\n"),
            "[servers.\"qwen2.5-7b\"]",
        ),
        (
            format!("{good}\n[servers.gamma]\nmodel = \"nowhere.gguf\"\n"),
            "nowhere.gguf",
        ),
        (format!("{good}\n[servers.gamma]\nport = 1\n"), "model"),
        (format!("{good}\n[memory]\nram = 1\n"), "memory"),
        (format!("{good}\nport = 0\n"), "port"),
        (format!("{good}\nautostart = 1\n"), "autostart"),
        (
            format!("{good}\nrestart = {{ policy = \"sometimes\" }}\n"),
            "sometimes",
        ),
        (format!("{good}\nmodel = \"alpha.gguf\"\n"), "model"),
        (format!("{good}\nflash_attn = \"maybe\"\n"), "flash_attn"),
        (
            format!("{good}\nport = 9001\nreplace = \"blue-green\"\n"),
            "blue-green",
        ),
        (format!("{good}\nreplace = \"sometimes\"\n"), "sometimes"),
        (format!("{good}\npriority = \"high\"\n"), "priority"),
        (format!("{good}\nembeddings = \"yes\"\n"), "embeddings"),
        (format!("{good}\n[select]\ntier = \"fast\"\n"), "[[select]]"),
        (format!("{good}\n[[select]]\ntier = \"slow\"\n"), "slow"),
        (format!("{good}\n[[select]]\nlimit = 0\n"), "limit"),
        (format!("{good}\n[[select]]\npattern = [1]\n"), "pattern"),
        (
            format!("{good}\n[[select]]\nmodel = \"alpha.gguf\"\n"),
            "[servers.NAME]",
        ),
        (format!("{good}\n[[select]]\nkind = \"chats\"\n"), "chats"),
        (
            format!("[defaults]\nreplace = \"blue-green\"\n{good}\nport = 9001\n"),
            "[defaults]",
        ),
        (
            format!("{good}\nunknown_one = 1\nunknown_two = 2\n"),
            "unknown_two",
        ),
    ];
    let place = |line: &str| line.contains("test.toml:");
    for (text, told) in &broken {
        fleet.save_text(text);
        let refused = fleet.magictl(&["reload"]).await.expect_code(78);
        assert!(refused.stderr.contains(told), "{text}\n{refused:?}");
        assert!(refused.stderr.lines().any(place), "{text}\n{refused:?}");
        let status = fleet.status().await;
        assert_eq!(status.config.unwrap().state(), ConfigState::Invalid);
        assert_eq!(pids(&fleet.all_ready(2).await), pids(&before));
    }
    let shown = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(shown.all().contains("unknown_two"), "{shown:?}");
    fleet.save_text(&good);
    fleet
        .wait_status("the mended profile is applied", |status| {
            status.config.as_ref().unwrap().state() == ConfigState::Applied
        })
        .await;
    assert_eq!(pids(&fleet.all_ready(2).await), pids(&before));
}

/// R20, for the other file of the transaction.
#[tokio::test]
async fn r20_a_broken_magid_toml_changes_nothing_and_tells_every_place() {
    let (mut fleet, before) = fleet(&["alpha", "beta"]).await;
    let good = std::fs::read_to_string(fleet.config_path()).unwrap();
    // A change of the profile that waits for it is not applied in part.
    let profile_text = profile(&fleet);
    let broken = [
        ("memory.ram = \"lots\"", "lots"),
        ("memory.vram = { CUDA0 = -1 }", "-1"),
        ("memory.vram = \"none\"", "none"),
        ("memory.max_loaded = -1", "-1"),
        ("memory.rom = 1", "ram"),
        ("reload.on_failure = \"retry\"", "retry"),
        ("reload = 1", "reload"),
        ("models.tiers.slow = 1", "slow"),
        ("models.scan_path = []", "scan_paths"),
        ("restart.max_failures = \"few\"", "max_failures"),
        ("[restart", "]"),
    ];
    let place = |line: &str| line.contains("magid.toml:");
    for (line, told) in broken {
        fleet.save_text(&format!("{profile_text}priority = 3\nctx_size = 512\n"));
        std::fs::write(fleet.config_path(), format!("{good}\n{line}\n")).unwrap();
        let refused = fleet.magictl(&["reload"]).await.expect_code(78);
        assert!(refused.stderr.contains(told), "{line}\n{refused:?}");
        assert!(refused.stderr.lines().any(place), "{line}\n{refused:?}");
        let status = fleet.status().await;
        assert_eq!(status.config.unwrap().state(), ConfigState::Invalid);
        assert_eq!(pids(&fleet.all_ready(2).await), pids(&before), "{line}");
        fleet.save_text(&profile_text);
    }
    std::fs::write(fleet.config_path(), good).unwrap();
    fleet
        .wait_status("the mended file is applied", |status| {
            status.config.as_ref().unwrap().state() == ConfigState::Applied
        })
        .await;
    assert_eq!(pids(&fleet.all_ready(2).await), pids(&before));
}

/// R21: what is no part of a process, and another way to say the same, restarts nothing.
#[tokio::test]
async fn r21_live_keys_and_equal_expansions_restart_nothing() {
    let mut fleet = Fleet::new();
    fleet.make_model("alpha");
    fleet.make_model("beta");
    let select = "[[select]]\npattern = \"*\"\nautostart = true\n";
    fleet.save_text(select);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    let edits = [
        format!("# all of them\n{select}priority = 7\n"),
        format!("{select}replace = \"drain-restart\"\n"),
        "[defaults]\nautostart = true\n[[select]]\npattern = [\"beta\", \"alpha\"]\n".to_owned(),
        "[[select]]\npattern = \"a*\"\nautostart = true\n\
         [[select]]\nautostart = true\npattern = \"b*\"\n"
            .to_owned(),
        "[servers.alpha]\nmodel = \"alpha\"\n[servers.beta]\nmodel = \"beta.gguf\"\n".to_owned(),
        format!("{select}limit = 2\n"),
    ];
    for edit in edits {
        fleet.save_text(&edit);
        fleet.magictl(&["reload"]).await.expect_code(0);
        let after = fleet.all_ready(2).await;
        assert_eq!(pids(&after), pids(&before), "{edit}");
    }
}

#[tokio::test]
async fn a_profile_that_is_empty_or_gone_for_a_moment_changes_nothing() {
    let (mut fleet, before) = fleet(&["alpha"]).await;
    let good = profile(&fleet);
    fleet.save_text("");
    let warned = |status: &magi_proto::v1::GetStatusResponse| {
        !status.config.as_ref().unwrap().warnings.is_empty()
    };
    fleet.wait_status("the empty profile is told", warned).await;
    std::fs::remove_file(fleet.profile_path()).unwrap();
    fleet
        .wait_status("the missing profile is told", |status| {
            let config = status.config.as_ref().unwrap();
            config
                .warnings
                .iter()
                .any(|warning| warning.message.contains("is gone"))
        })
        .await;
    fleet.save_text(&good);
    fleet
        .wait_status("nothing is left to tell", |status| !warned(status))
        .await;
    assert_eq!(pids(&fleet.all_ready(1).await), pids(&before));
}

#[tokio::test]
async fn a_broken_profile_that_is_not_active_is_shown_and_harms_nobody() {
    let (mut fleet, before) = fleet(&["alpha"]).await;
    std::fs::write(
        fleet.path("profiles/other.toml"),
        "[servers.x]\nmodle = 1\n",
    )
    .unwrap();
    fleet.magictl(&["reload"]).await.expect_code(0);
    let shown = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(
        shown.all().contains("profile other cannot be activated"),
        "{shown:?}"
    );
    assert_eq!(pids(&fleet.all_ready(1).await), pids(&before));
}

#[tokio::test]
async fn sighup_reloads() {
    let (mut fleet, _) = fleet(&["alpha"]).await;
    fleet.save(&servers(&["alpha", "beta"]));
    fleet.signal(Signal::SIGHUP);
    fleet.all_ready(2).await;
}

#[tokio::test]
async fn a_stop_is_remembered_over_reloads_and_restarts_of_magid() {
    let (mut fleet, _) = fleet(&["alpha", "beta"]).await;
    fleet.magictl(&["stop", "beta"]).await.expect_code(0);
    fleet.save(&servers(&["alpha", "beta", "gamma"]));
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.ready("gamma").await;
    fleet.state("beta", ServerState::Stopped).await;
    fleet.terminate().await;
    fleet.start().await;
    fleet.ready("alpha").await;
    let beta = fleet.state("beta", ServerState::Stopped).await;
    assert_eq!(beta.reason, "requested");
    fleet.magictl(&["start", "beta"]).await.expect_code(0);
}

#[tokio::test]
async fn autostart_false_is_stopped_until_a_start() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").set("autostart", false)]);
    fleet.start().await;
    let alpha = fleet.state("alpha", ServerState::Stopped).await;
    assert_eq!(alpha.reason, "not-autostarted");
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn an_invalid_profile_at_start_leaves_magid_up_and_mending_it_heals() {
    let mut fleet = Fleet::new();
    fleet.save_text("[servers.alpha]\nmodle = 1\n");
    fleet.start().await;
    let status = fleet.status().await;
    assert_eq!(status.config.unwrap().state(), ConfigState::Invalid);
    fleet.save(&servers(&["alpha"]));
    fleet.all_ready(1).await;
}

#[tokio::test]
async fn an_invalid_magid_toml_ends_magid_with_78() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.prot_range", 1);
    let ended = fleet.run_magid().await.expect_code(78);
    assert!(ended.stderr.contains("port_range"), "{ended:?}");
}

#[tokio::test]
async fn without_a_profile_magid_runs_and_says_so() {
    let mut fleet = Fleet::new();
    fleet.start().await;
    let status = fleet.status().await;
    assert_eq!(status.config.unwrap().state(), ConfigState::NoProfile);
    let shown = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(shown.all().contains("no active profile"), "{shown:?}");
}

#[tokio::test]
async fn a_second_magid_on_one_state_directory_is_refused_and_names_the_first() {
    let (fleet, _) = fleet(&["alpha"]).await;
    let second = fleet.run_magid().await.expect_code(1);
    assert!(
        second.stderr.contains(&format!("pid {}", fleet.pid())),
        "{second:?}"
    );
}

#[tokio::test]
async fn a_port_held_by_a_stranger_fails_that_server_and_no_other() {
    let mut fleet = Fleet::new();
    let port = fleet.port(0);
    let _stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    fleet.save(&[
        Server::faulty("alpha").set("port", port),
        Server::faulty("beta"),
    ]);
    fleet.start().await;
    let alpha = fleet.state("alpha", ServerState::Failed).await;
    assert_eq!(alpha.reason, "bind");
    assert!(
        alpha.detail.contains(&std::process::id().to_string()),
        "{alpha:?}"
    );
    fleet.ready("beta").await;
}

#[tokio::test]
async fn reloads_at_the_same_time_share_one_verdict_and_all_wait_for_it() {
    let (mut fleet, before) = fleet(&["alpha"]).await;
    let changed = Server::faulty("alpha").fault("load-time=500ms");
    fleet.save(&[changed]);
    let reloads = tokio::join!(
        fleet.magictl(&["reload"]),
        fleet.magictl(&["reload"]),
        fleet.magictl(&["reload"]),
    );
    let now = fleet.status().await.servers.remove(0);
    assert_eq!(now.state(), ServerState::Ready, "{reloads:?}");
    assert_eq!(
        now.incarnation,
        Some(before["alpha"].incarnation.unwrap() + 1)
    );
    for reload in [reloads.0, reloads.1, reloads.2] {
        reload.expect_code(0);
    }
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn an_edit_behind_a_symlink_is_seen() {
    let mut fleet = Fleet::new();
    fleet.save(&servers(&["alpha"]));
    std::fs::create_dir(fleet.path("elsewhere")).unwrap();
    let real = fleet.path("elsewhere/real.toml");
    std::fs::rename(fleet.profile_path(), &real).unwrap();
    std::os::unix::fs::symlink(&real, fleet.profile_path()).unwrap();
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    let text = std::fs::read_to_string(&real).unwrap();
    std::fs::write(&real, format!("{text}ctx_size = 512\n")).unwrap();
    fleet.ready_again(&before).await;
}

#[tokio::test]
async fn two_servers_can_swap_their_ports() {
    let mut fleet = Fleet::new();
    let (one, two) = (fleet.port(0), fleet.port(1));
    let profile = |a: u16, b: u16| {
        [
            Server::faulty("alpha").set("port", a),
            Server::faulty("beta").set("port", b),
        ]
    };
    fleet.save(&profile(one, two));
    fleet.start().await;
    fleet.all_ready(2).await;
    fleet.save(&profile(two, one));
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    assert_eq!(after["alpha"].port, Some(two.into()));
    assert_eq!(after["beta"].port, Some(one.into()));
    assert_eq!(after["alpha"].restarts + after["beta"].restarts, 0);
}

/// R23: a storm of writes is few reloads, and the last content wins.
#[tokio::test]
async fn r23_a_storm_of_writes_ends_with_the_last_content() {
    let (mut fleet, _) = fleet(&["alpha"]).await;
    let writes = magi_tests::harness::full(200, 1000);
    let text = profile(&fleet);
    for n in 1..=writes {
        let text = format!("{text}ctx_size = {n}\n");
        let fresh = fleet.path("profiles").join(".fresh");
        match n % 3 {
            0 => fleet.save_text(&text),
            1 => {
                std::fs::write(&fresh, text).unwrap();
                std::fs::rename(fresh, fleet.profile_path()).unwrap();
            }
            _ => {
                let target = fleet.path(&format!("version-{n}"));
                std::fs::write(&target, text).unwrap();
                std::os::unix::fs::symlink(&target, &fresh).unwrap();
                std::fs::rename(fresh, fleet.profile_path()).unwrap();
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let last = writes.to_string();
    fleet
        .wait_status("the last content is applied", |status| {
            status
                .servers
                .iter()
                .any(|s| s.state() == ServerState::Ready)
        })
        .await;
    fleet.magictl(&["reload"]).await.expect_code(0);
    let explained = fleet.magictl(&["explain", "alpha"]).await.expect_code(0);
    assert!(
        explained.stdout.contains(&format!("--ctx-size {last}")),
        "{explained:?}"
    );
    let events = fleet.events().await.unwrap();
    let reloads = events
        .iter()
        .filter(|event| event.kind == "config-applied")
        .count();
    figure!("R23: {writes} writes, {reloads} reloads");
    assert!(reloads <= 2 + writes / 80, "{reloads} reloads");
}
