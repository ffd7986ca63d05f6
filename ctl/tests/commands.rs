//! What magictl prints and exits with, for prepared answers of a daemon.
#![allow(missing_docs)]

#[allow(dead_code)]
mod fake;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use fake::{Fake, Run, Script, magictl};
use magi_proto::v1::{self, ServerState};
use tonic::Code;

fn server(name: &str, state: ServerState) -> v1::Server {
    v1::Server {
        name: name.to_owned(),
        model: format!("{name}.gguf"),
        state: state.into(),
        reason: "requested".to_owned(),
        ..Default::default()
    }
}

fn ready(name: &str) -> v1::Server {
    v1::Server {
        aliases: vec![format!("{name}-alias")],
        reason: "healthy".to_owned(),
        pid: Some(4711),
        incarnation: Some(1),
        endpoint: Some("http://127.0.0.1:8080".to_owned()),
        port: Some(8080),
        ..server(name, ServerState::Ready)
    }
}

fn failed(name: &str) -> v1::Server {
    v1::Server {
        reason: "model-invalid".to_owned(),
        detail: "llama-server cannot load it".to_owned(),
        last_exit: Some(v1::Exit {
            class: "model-invalid".to_owned(),
            code: Some(1),
            incarnation: 1,
            last_lines: vec!["gguf_init: bad magic".to_owned(), "exiting".to_owned()],
            ..Default::default()
        }),
        ..server(name, ServerState::Failed)
    }
}

fn fleet(servers: Vec<v1::Server>) -> v1::GetStatusResponse {
    v1::GetStatusResponse {
        node: "host".to_owned(),
        profile: Some("demo".to_owned()),
        config: Some(v1::ConfigStatus {
            state: v1::ConfigState::Applied.into(),
            profiles_dir: "/etc/magi/profiles".to_owned(),
            config_path: "/etc/magi/magid.toml".to_owned(),
            ..Default::default()
        }),
        servers,
        ..Default::default()
    }
}

fn two_servers() -> Fake {
    Fake::new(Script {
        status: fleet(vec![ready("alpha"), failed("beta")]),
        ..Default::default()
    })
}

#[test]
fn bare_status_is_0_whatever_the_servers_do() {
    let run = two_servers().magictl(&["status"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    insta::assert_snapshot!(run.stdout, @"
    NAME   STATE    PID  ENDPOINT               RESTARTS  UPTIME
    alpha  ready   4711  http://127.0.0.1:8080         0       -
    beta   failed     -  -                             0       -
        failed: model-invalid: llama-server cannot load it
    ");
}

#[test]
fn status_of_named_servers_is_3_unless_all_are_ready() {
    let fake = two_servers();
    assert_eq!(fake.magictl(&["status", "alpha"]).exit, Some(0));
    assert_eq!(fake.magictl(&["status", "alpha-alias"]).exit, Some(0));
    assert_eq!(fake.magictl(&["status", "alpha", "beta"]).exit, Some(3));
    assert_eq!(
        fake.magictl(&["-o", "json", "status", "beta"]).exit,
        Some(3)
    );
}

#[test]
fn a_server_that_does_not_exist_is_4() {
    let run = two_servers().magictl(&["status", "gamma"]);
    assert_eq!(run.exit, Some(4));
    assert_eq!(
        run.stderr,
        "magictl: no such server: gamma; there are: alpha, beta\n"
    );
}

#[test]
fn reason_codes_of_the_daemon_become_exit_statuses() {
    for (code, reason, exit) in [
        (Code::NotFound, "no-such-server", 4),
        (Code::Unavailable, "shutting-down", 75),
        (Code::InvalidArgument, "invalid-argument", 2),
    ] {
        let fake = Fake::refusing(code, reason, "cannot do it", &[]);
        let run = fake.magictl(&["explain", "alpha"]);
        assert_eq!(run.exit, Some(exit), "{reason}");
        assert_eq!(run.stderr, "magictl: cannot do it\n");
    }
}

#[test]
fn no_daemon_is_69_and_says_what_was_tried() {
    let run = magictl(&["status", "--socket", "/nonexistent/magid.sock"]).output();
    let run = Run::new(run.unwrap());
    assert_eq!(run.exit, Some(69));
    insta::assert_snapshot!(run.stderr, @"
    magictl: cannot reach magid: /nonexistent/magid.sock: No such file or directory (os error 2)
    start it with `systemctl start magid`, or in a terminal with `magid`
    ");
}

#[test]
fn an_empty_fleet_says_what_to_do() {
    let fake = Fake::new(Script {
        status: fleet(Vec::new()),
        ..Default::default()
    });
    insta::assert_snapshot!(fake.magictl(&["status"]).stdout, @r#"
    no servers: profile demo defines none; write a table [servers.NAME] with model =
    "…" into /etc/magi/profiles/demo.toml
    "#);
}

#[test]
fn an_invalid_configuration_heads_the_status() {
    let mut status = fleet(vec![ready("alpha")]);
    status.config = Some(v1::ConfigStatus {
        state: v1::ConfigState::Invalid.into(),
        errors: vec![v1::Diagnostic {
            file: "/etc/magi/profiles/demo.toml".to_owned(),
            line: 3,
            column: 1,
            message: "unknown key `ctx-size`".to_owned(),
            help: "did you mean `ctx_size`?".to_owned(),
            rendered: String::new(),
        }],
        needs_restart: vec!["llama_server.host".to_owned()],
        ..Default::default()
    });
    let fake = Fake::new(Script {
        status,
        ..Default::default()
    });
    insta::assert_snapshot!(fake.magictl(&["status"]).stdout, @"
    the configuration on disk is invalid; the last good one stays in force:

    /etc/magi/profiles/demo.toml:3:1: unknown key `ctx-size`; did you mean `ctx_size`?

    NAME   STATE   PID  ENDPOINT               RESTARTS  UPTIME
    alpha  ready  4711  http://127.0.0.1:8080         0       -

    changed, and in force once magid is restarted: llama_server.host
    ");
}

#[test]
fn a_start_tells_what_happens_and_prints_the_result() {
    let fake = Fake::new(Script {
        status: fleet(vec![server("alpha", ServerState::Stopped)]),
        news: vec![server("alpha", ServerState::Starting), ready("other")],
        changed: Some(vec![ready("alpha")]),
        ..Default::default()
    });
    let run = fake.magictl(&["start", "alpha"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    assert!(run.stdout.contains("http://127.0.0.1:8080"), "{run:?}");
    assert!(!run.stderr.contains("other"), "{run:?}");
}

#[test]
fn a_start_that_failed_is_1_and_shows_the_last_lines() {
    let fake = Fake::new(Script {
        changed: Some(vec![failed("beta")]),
        ..Default::default()
    });
    let run = fake.magictl(&["start", "beta"]);
    assert_eq!(run.exit, Some(1));
    insta::assert_snapshot!(run.stderr, @"
    magictl: beta: failed: model-invalid: llama-server cannot load it
    incarnation 1 ended: model-invalid: exit status 1
        gguf_init: bad magic
        exiting
    ");
    let asked_only = fake.magictl(&["start", "beta", "--no-wait"]);
    assert_eq!(asked_only.exit, Some(0));
}

#[test]
fn a_start_that_takes_too_long_is_75_and_says_how_far_it_got() {
    let mut loading = server("alpha", ServerState::Starting);
    loading.reason = "loading".to_owned();
    loading.load_percent = Some(45);
    let fake = Fake::new(Script {
        status: fleet(vec![loading]),
        ..Default::default()
    });
    let run = fake.magictl(&["start", "alpha", "--timeout", "50ms"]);
    assert_eq!(run.exit, Some(75), "{run:?}");
    let expected =
        "magictl: not done after 50ms; magid goes on with it\nalpha: starting 45 %: loading\n";
    assert!(run.stderr.ends_with(expected), "{run:?}");
}

#[test]
fn a_stop_is_done_when_the_server_is_stopped() {
    let stopped = server("alpha", ServerState::Stopped);
    let stuck = server("alpha", ServerState::Stopping);
    for (server, exit) in [(stopped, 0), (stuck, 1)] {
        let fake = Fake::new(Script {
            changed: Some(vec![server]),
            ..Default::default()
        });
        assert_eq!(fake.magictl(&["stop", "--all"]).exit, Some(exit));
    }
}

fn step(server: &str, action: v1::PlanAction, reason: &str) -> v1::PlanStep {
    v1::PlanStep {
        server: server.to_owned(),
        action: action.into(),
        reasons: vec![reason.to_owned()],
        ..Default::default()
    }
}

#[test]
fn a_plan_folds_what_stays_as_it_is() {
    let fake = Fake::new(Script {
        reload: v1::ReloadResponse {
            verdict: v1::ReloadVerdict::Planned.into(),
            steps: vec![
                step("alpha", v1::PlanAction::Keep, ""),
                step(
                    "beta",
                    v1::PlanAction::Replace,
                    "ctx_size changed: 4096 -> 8192",
                ),
                step("gamma", v1::PlanAction::Keep, ""),
            ],
            overridden: vec!["active_profile (MAGI_PROFILE)".to_owned()],
            ..Default::default()
        },
        ..Default::default()
    });
    let run = fake.magictl(&["plan"]);
    assert_eq!(run.exit, Some(0));
    assert_eq!(
        run.stderr,
        "overridden by the environment: active_profile (MAGI_PROFILE)\n"
    );
    insta::assert_snapshot!(run.stdout, @"
    ACTION   SERVER  MEMORY  WHY
    replace  beta    -       ctx_size changed: 4096 -> 8192
    2 unchanged
    ");
    let verbose = fake.magictl(&["reload", "--dry-run", "-v"]);
    assert!(verbose.stdout.contains("keep     alpha"), "{verbose:?}");
}

#[test]
fn a_refused_reload_is_78_and_shows_every_error() {
    let fake = Fake::new(Script {
        reload: v1::ReloadResponse {
            verdict: v1::ReloadVerdict::Refused.into(),
            errors: vec![v1::Diagnostic {
                rendered: "error: unknown key\n --> demo.toml:3:1\n".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        },
        ..Default::default()
    });
    let run = fake.magictl(&["reload"]);
    assert_eq!(run.exit, Some(78));
    assert_eq!(run.stdout, "");
    insta::assert_snapshot!(run.stderr, @"
    error: unknown key
     --> demo.toml:3:1

    magictl: the configuration is invalid; nothing was changed
    ");
}

#[test]
fn a_reload_after_which_a_server_failed_is_1() {
    let fake = Fake::new(Script {
        reload: v1::ReloadResponse {
            verdict: v1::ReloadVerdict::Applied.into(),
            steps: vec![step("beta", v1::PlanAction::Start, "new")],
            servers: vec![failed("beta")],
            ..Default::default()
        },
        ..Default::default()
    });
    let run = fake.magictl(&["reload"]);
    assert_eq!(run.exit, Some(1));
    assert!(run.stderr.contains("    gguf_init: bad magic\n"), "{run:?}");
}

fn output_of_two_incarnations() -> Script {
    let message = |incarnation, line: &str, skipped_bytes| v1::TailLogsResponse {
        incarnation,
        lines: vec![line.to_owned()],
        skipped_bytes,
    };
    Script {
        log: vec![message(3, "bye", 0), message(4, "hello", 2048)],
        ..Default::default()
    }
}

#[test]
fn log_lines_are_results_and_the_rest_is_narration() {
    let run = Fake::new(output_of_two_incarnations()).magictl(&["logs", "alpha"]);
    assert_eq!(run.exit, Some(0));
    assert_eq!(run.stdout, "bye\nhello\n");
    assert_eq!(
        run.stderr,
        "-- incarnation 4 --\n-- 2.0 KiB passed over --\n"
    );
}

#[test]
fn following_ends_quietly_when_the_reader_goes_away() {
    let fake = Fake::new(output_of_two_incarnations());
    let mut child = fake
        .command(&["logs", "alpha", "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    assert_eq!(first, "bye\n");
    drop(reader);
    // Nothing more is written: only the reader's end can end it.
    let run = Run::new(child.wait_with_output().unwrap());
    assert_eq!(run.exit, Some(0), "{run:?}");
}

#[test]
fn watching_into_a_pipe_prints_a_line_per_change() {
    let fake = Fake::new(Script {
        status: fleet(vec![server("alpha", ServerState::Stopped)]),
        news: vec![ready("alpha")],
        ..Default::default()
    });
    let mut child = fake
        .command(&["status", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let reader = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<String> = reader.lines().take(2).map(Result::unwrap).collect();
    assert_eq!(
        lines,
        [
            "alpha: stopped: requested",
            "alpha: ready at http://127.0.0.1:8080, pid 4711"
        ]
    );
    assert!(child.wait().unwrap().success());
}

#[test]
fn events_are_one_line_each() {
    let fake = Fake::new(Script {
        events: vec![v1::Event {
            sequence: 7,
            at: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            kind: "server-exited".to_owned(),
            server: Some("alpha".to_owned()),
            incarnation: Some(3),
            message: "signal: SIGKILL\nnobody here sent it".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let run = fake.magictl(&["events"]);
    assert_eq!(run.stderr, "-- 3 events missed --\n");
    insta::assert_snapshot!(run.stdout, @"2023-11-14 22:13:20  server-exited     alpha#3           signal: SIGKILL nobody here sent it");
}

#[test]
fn a_document_that_never_ends_is_a_usage_error() {
    let fake = two_servers();
    for args in [["logs", "alpha", "-f"], ["status", "--watch", "alpha"]] {
        let run = fake.magictl(&[&["-o", "json"], &args[..]].concat());
        assert_eq!(run.exit, Some(2), "{run:?}");
    }
}

#[test]
fn explain_prints_a_command_line_that_can_be_copied() {
    let words = [
        "/opt/my llama/llama-server",
        "-m",
        "/models/a.gguf",
        "--jinja",
        "--port",
        "8080",
    ];
    let fake = Fake::new(Script {
        explanation: v1::ExplainServerResponse {
            server: Some(failed("beta")),
            defined_at: "/etc/magi/profiles/demo.toml:4".to_owned(),
            argv: words.map(str::to_owned).to_vec(),
            env: [("GGML_X".to_owned(), "a b".to_owned())].into(),
            should_run: true,
            should_run_because: "profile".to_owned(),
            restart_policy: "always".to_owned(),
            failures: 1,
            max_failures: 5,
            next_delay: Some(prost_types::Duration {
                seconds: 0,
                nanos: 500_000_000,
            }),
            log_path: "/var/log/magi/beta/1.log".to_owned(),
            device_memory: [("CUDA0".to_owned(), 4 << 30)].into(),
            memory_budget: 16 << 30,
            memory_reserved: 3 << 30,
            priority: 10,
            ..Default::default()
        },
        ..Default::default()
    });
    insta::assert_snapshot!(fake.magictl(&["explain", "beta"]).stdout, @r"
    server       beta
    state        failed: model-invalid: llama-server cannot load it
    should run   yes: the profile says so
    model        beta.gguf
    memory       4.0 GiB needed of CUDA0
                 3.0 GiB of 16.0 GiB reserved by all servers
    priority     10
    restarts     0, policy always
                 1 of 5 failures that open the breaker
                 the next one would wait 500ms
    last exit    incarnation 1
                 model-invalid: exit status 1
                     gguf_init: bad magic
                     exiting
    log          /var/log/magi/beta/1.log
    defined at   /etc/magi/profiles/demo.toml:4
    environment  GGML_X='a b'
    command line
        '/opt/my llama/llama-server' \
            -m /models/a.gguf \
            --jinja \
            --port 8080
    ");
}
