//! `magictl check` and `magictl ports` without a daemon.
#![allow(missing_docs)]

#[allow(dead_code)]
mod fake;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use fake::{Run, magictl};
use serde_json::Value;
use tempfile::TempDir;

/// A program that answers as llama-server does.
const LLAMA_SERVER: &str = "#!/bin/sh
echo $1 >> \"$(dirname $0)/asked\"
case $1 in
--version) echo 'version: 11434 (abc)' >&2 ;;
--help) cat <<'END'
-m,    --model FNAME                    model path
--port PORT                             port to listen on
-c,    --ctx-size N                     size of the prompt context
--no-ui                                 no page
--metrics                               figures
--slots                                 slots
--log-colors [on|off|auto]              colours
END
;;
esac
";

const PROFILE: &str = "[servers.alpha]\nmodel = \"m\"\nctx_size = 4096\n";

/// A folder with a configuration, a model and a llama-server.
struct Home(TempDir);

impl Home {
    fn new(profile: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for folder in ["profiles", "models"] {
            fs::create_dir(home.path(folder)).unwrap();
        }
        fs::write(home.path("models/m.gguf"), "GGUF").unwrap();
        home.program(LLAMA_SERVER);
        home.daemon("");
        fs::write(home.path("profiles/a.toml"), profile).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn daemon(&self, more: &str) {
        let text = "active_profile = \"a\"\nstate_dir = \"state\"\nruntime_dir = \"run\"\nlog_dir = \"log\"\n\
                    [models]\nscan_paths = [\"models\"]\n[llama_server]\npath = \"./llama-server\"\n";
        fs::write(self.path("magid.toml"), format!("{text}{more}")).unwrap();
    }

    fn program(&self, text: &str) {
        let draft = self.path("draft");
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        // A program that any process of this test has open for writing could not be run.
        let mut copy = Command::new("cp");
        copy.arg(draft).arg(self.path("llama-server"));
        assert!(copy.status().unwrap().success());
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = magictl(args);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .envs(variables.iter().copied())
            .arg("--config")
            .arg(self.path("magid.toml"))
            .arg("--socket")
            .arg(self.path("no.sock"));
        Run::new(command.output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let run = self.run(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&run.stdout).unwrap()
    }
}

/// The findings of a check.
fn findings<'v>(report: &'v Value, check: &str) -> Vec<&'v Value> {
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|finding| finding["check"] == check).collect()
}

#[test]
fn a_sound_configuration_is_0_without_a_daemon() {
    let home = Home::new(PROFILE);
    let run = home.run(&["check"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    assert!(run.stdout.contains("ok      llama-server"), "{run:?}");
    assert!(run.stdout.contains("version 11434 (abc)"));
    assert!(
        run.stderr.starts_with("0 errors, 0 warnings in "),
        "{run:?}"
    );
}

#[test]
fn the_report_is_json_as_documented() {
    let report = Home::new(PROFILE).json(&["check"]);
    assert_eq!(report["ok"], true);
    assert_eq!(
        (&report["errors"], &report["warnings"]),
        (&0.into(), &0.into())
    );
    assert!(report["durationMs"].as_u64().unwrap() < 10_000);
    let page = include_str!("../../docs/check.md");
    for finding in report["checks"].as_array().unwrap() {
        let mut names: Vec<_> = finding
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        let expected = [
            "check", "column", "critical", "file", "help", "level", "line", "what", "why",
        ];
        assert_eq!(names, expected);
        let code = finding["check"].as_str().unwrap();
        assert!(
            page.contains(&format!("`{code}`")),
            "{code} is not on the page"
        );
    }
}

#[test]
fn an_invalid_profile_is_78_with_its_place_and_what_to_write() {
    let home = Home::new("[servers.alpha]\nmodel = \"m\"\nctx-size = 4096\n");
    let run = home.run(&["check"]);
    assert_eq!(run.exit, Some(78), "{run:?}");
    let place = format!("at {}:3:1", home.path("profiles/a.toml").display());
    assert!(run.stdout.contains(&place), "{run:?}");
    assert!(run.stdout.contains("ctx_size"));
}

#[test]
fn a_broken_profile_that_is_not_active_is_78_too() {
    let home = Home::new(PROFILE);
    fs::write(home.path("profiles/b.toml"), "[servers.b]\n").unwrap();
    assert_eq!(home.run(&["check"]).exit, Some(78));
    assert_eq!(home.run(&["check", "a"]).exit, Some(0));
    assert_eq!(home.run(&["check", "b"]).exit, Some(78));
    let path = home.path("profiles/b.toml");
    assert_eq!(home.run(&["check", path.to_str().unwrap()]).exit, Some(78));
}

#[test]
fn a_file_of_the_users_own_is_read_wherever_it_is() {
    let home = Home::new(PROFILE);
    let path = home.path("draft.toml");
    fs::write(&path, PROFILE).unwrap();
    let run = home.run(&["check", path.to_str().unwrap()]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    assert_eq!(run.stdout, "ok      syntax          1 profile\n");
    assert_eq!(home.run(&["check", "nothing-of-that-name"]).exit, Some(78));
}

#[test]
fn a_missing_model_is_what_a_reload_would_refuse() {
    let home = Home::new("[servers.alpha]\nmodel = \"n\"\n");
    let run = home.run(&["check", "--critical"]);
    assert_eq!(run.exit, Some(78));
    assert!(run.stdout.starts_with("error   models"), "{run:?}");
    assert!(!run.stdout.contains("\nok "), "{run:?}");
    assert_eq!(run.stderr, "");
}

#[test]
fn a_warning_is_0() {
    let run = Home::new(PROFILE).run_with(&["check"], &[("LLAMA_ARG_CTX_SIZE", "1")]);
    assert_eq!(run.exit, Some(0));
    assert!(
        run.stdout
            .contains("warning environment     servers are not given LLAMA_ARG_CTX_SIZE"),
        "{run:?}"
    );
    assert!(run.stderr.starts_with("0 errors, 1 warning"));
}

#[test]
fn a_flag_that_llama_server_does_not_know_is_1_with_the_key_to_write() {
    let home = Home::new(&format!(
        "{PROFILE}args = [\"--mlock\", \"--ctx-siez\", \"1\"]\n"
    ));
    let run = home.run(&["check"]);
    assert_eq!(run.exit, Some(1), "{run:?}");
    assert!(
        run.stdout.contains("help: write `load_mode = \"mlock\"`"),
        "{run:?}"
    );
    assert!(run.stdout.contains("help: did you mean --ctx-size?"));
}

#[test]
fn a_llama_server_is_asked_once_until_it_changes() {
    let home = Home::new(PROFILE);
    let asked = || {
        fs::read_to_string(home.path("asked"))
            .unwrap()
            .lines()
            .count()
    };
    home.run(&["check"]);
    home.run(&["check"]);
    assert_eq!(asked(), 2);
    home.program(&format!("{LLAMA_SERVER}\n"));
    home.run(&["check"]);
    assert_eq!(asked(), 4);
}

#[test]
fn a_program_that_is_no_llama_server_is_told_as_such() {
    let home = Home::new(PROFILE);
    for (program, why) in [
        ("#!/bin/sh\necho hello\n", "is not that of a llama-server"),
        (
            "#!/bin/sh\necho no libggml.so >&2; exit 127\n",
            "ended with 127: no libggml.so",
        ),
        ("#!/bin/sh\nexec yes\n", "is not that of a llama-server"),
        ("#!/nowhere/sh\n", "No such file"),
    ] {
        home.program(program);
        let run = home.run(&["check", "--critical"]);
        assert_eq!(run.exit, Some(1), "{run:?}");
        assert!(run.stdout.contains(why), "{why}: {run:?}");
    }
    fs::remove_file(home.path("llama-server")).unwrap();
    assert_eq!(home.run(&["check"]).exit, Some(1));
}

#[test]
fn a_program_that_hangs_does_not_hold_up_the_others() {
    let home = Home::new(PROFILE);
    home.program("#!/bin/sh\nsleep 600\n");
    let report = home.json(&["check"]);
    assert!(report["durationMs"].as_u64().unwrap() < 10_000);
    let [finding] = findings(&report, "llama-server")[..] else {
        panic!("{report}");
    };
    assert!(
        finding["why"]
            .as_str()
            .unwrap()
            .contains("not answered within"),
        "{finding}"
    );
    assert_eq!(findings(&report, "memory")[0]["level"], "ok");
}

#[test]
fn asking_servers_for_a_token_needs_a_daemon() {
    let run = Home::new(PROFILE).run(&["check", "--live"]);
    assert_eq!(run.exit, Some(69));
    assert!(run.stderr.contains("no.sock"), "{run:?}");
}

#[test]
fn a_stranger_on_a_fixed_port_is_named_by_check_and_by_ports() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let home = Home::new(&format!("{PROFILE}port = {port}\n"));
    let run = home.run(&["ports"]);
    assert_eq!(run.exit, Some(1), "{run:?}");
    let holder = format!("pid {}", std::process::id());
    assert!(run.stdout.contains(&holder), "{run:?}");
    assert!(run.stdout.contains("conflict: server alpha cannot listen"));
    let report = home.json(&["check"]);
    let found = findings(&report, "port-conflicts");
    assert_eq!(found[0]["level"], "error");
    assert!(
        found[0]["what"].as_str().unwrap().contains(&holder),
        "{report}"
    );
    assert_eq!(found[0]["line"], 1);
    drop(stranger);
    assert_eq!(home.run(&["ports"]).exit, Some(0));
}

#[test]
fn ports_are_json_as_documented() {
    let home = Home::new(PROFILE);
    home.daemon("port_range = [50000, 50009]\n");
    let ports = home.json(&["ports"]);
    let first = ports["ports"][0].as_object().unwrap();
    let mut names: Vec<_> = first.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "command", "conflict", "health", "lastPort", "owner", "pid", "port", "protocol",
        "required", "server", "state",
    ];
    assert_eq!(names, expected);
    assert_eq!(first["port"], 50000);
}

#[test]
fn a_configuration_that_is_not_there_is_told() {
    let home = Home::new(PROFILE);
    fs::remove_file(home.path("magid.toml")).unwrap();
    let run = home.run(&["check"]);
    assert_eq!(run.exit, Some(78), "{run:?}");
    assert!(run.stdout.contains("there is no "), "{run:?}");
}
