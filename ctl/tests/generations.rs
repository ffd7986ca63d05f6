//! What magictl makes of generations and of changes to the fleet as a whole, for prepared answers of
//! a daemon.
#![allow(missing_docs)]

#[allow(dead_code)]
mod fake;

use fake::{Fake, Script, Stores};
use magi_proto::v1;
use prost_types::Timestamp;
use tonic::Code;

const NOON: Option<Timestamp> = Some(Timestamp {
    seconds: 1_769_860_800,
    nanos: 0,
});

fn generation(number: u64, cause: &str, summary: &str) -> v1::Generation {
    v1::Generation {
        number,
        digest: "ab".repeat(32),
        profile: Some("demo".to_owned()),
        applied_at: NOON,
        cause: cause.to_owned(),
        summary: summary.to_owned(),
        ..Default::default()
    }
}

fn history() -> Stores {
    let current = v1::Generation {
        current: true,
        ..generation(10, "rollback", "rollback to 8")
    };
    Stores {
        generations: vec![current, generation(9, "edit", "1 replaced")],
        ..Default::default()
    }
}

#[test]
fn the_history_marks_the_generation_in_force() {
    let run = Fake::with(history()).magictl(&["history"]);
    insta::assert_snapshot!(run.stdout, @"
    NUMBER  APPLIED              PROFILE  CAUSE     SUMMARY
      * 10  2026-01-31 12:00:00  demo     rollback  rollback to 8
         9  2026-01-31 12:00:00  demo     edit      1 replaced
    ");
}

#[test]
fn a_broken_generation_is_1() {
    let fake = Fake::with(history());
    let run = fake.magictl(&["history", "--verify"]);
    assert_eq!(
        (run.exit, run.stdout.as_str()),
        (Some(0), "2 verified, 0 broken\n")
    );
    let one = fake.asked(&["history", "--verify", "9"]);
    assert_eq!(one, "VerifyGenerationsRequest { number: Some(9) }");
    let fake = Fake::with(Stores {
        broken: vec![v1::BrokenGeneration {
            number: 9,
            reason: "its digest is another".to_owned(),
        }],
        ..history()
    });
    let run = fake.magictl(&["history", "--verify"]);
    assert_eq!(run.exit, Some(1));
    assert_eq!(
        run.stdout,
        "generation 9: its digest is another\n2 verified, 1 broken\n"
    );
}

#[test]
fn pruning_says_what_is_left() {
    let fake = Fake::with(Stores {
        pruned: v1::PruneGenerationsResponse {
            removed: vec![3, 2],
            kept: vec![10, 9],
        },
        ..history()
    });
    let run = fake.magictl(&["history", "--prune", "--dry-run"]);
    assert_eq!(run.stdout, "would remove: 3 2\nkept: 10 9\n");
}

#[test]
fn a_pruned_generation_is_4_with_what_is_left() {
    let message = "there is no generation 3; there are 9 and 10";
    let fake = Fake::refusing(Code::NotFound, "no-such-generation", message, &[]);
    for args in [&["rollback", "3"][..], &["restore", "3"], &["diff", "3"]] {
        let run = fake.magictl(args);
        assert_eq!(run.exit, Some(4), "{args:?}");
        assert_eq!(run.stderr, format!("magictl: {message}\n"));
    }
}

#[test]
fn a_diff_into_a_pipe_has_no_colours() {
    let diff = "--- 9/demo.toml\n+++ 10/demo.toml\n@@ -1 +1 @@\n-a\u{1b}[2J\n+b\n";
    let fake = Fake::with(Stores {
        diff: diff.to_owned(),
        ..Default::default()
    });
    let run = fake.magictl(&["diff", "10", "--since", "9"]);
    assert_eq!(run.stdout, diff.replace("\u{1b}[2J", ""));
    let nothing = Fake::with(Stores::default()).magictl(&["diff", "--files"]);
    assert_eq!(
        (nothing.stdout.as_str(), nothing.stderr.as_str()),
        ("", "nothing differs\n")
    );
}

#[test]
fn a_restore_prints_what_it_wrote() {
    let fake = Fake::with(Stores {
        restored: v1::RestoreFilesResponse {
            written: vec!["/etc/magi/profiles/demo.toml".to_owned()],
            unchanged: vec!["/etc/magi/magid.toml".to_owned()],
            kept: vec!["/var/lib/magi/generations/replaced/demo.toml".to_owned()],
        },
        ..Default::default()
    });
    let run = fake.magictl(&["restore", "9"]);
    assert_eq!(run.exit, Some(0));
    assert_eq!(run.stdout, "/etc/magi/profiles/demo.toml\n");
    insta::assert_snapshot!(run.stderr, @"
    /etc/magi/magid.toml is like that already
    what was in a file is in no generation; it is kept in /var/lib/magi/generations/replaced/demo.toml
    magid takes them as any edit of the files; `magictl reload` tells the verdict
    ");
}

fn applied(verdict: v1::ReloadVerdict) -> v1::ReloadResponse {
    v1::ReloadResponse {
        verdict: verdict.into(),
        steps: vec![v1::PlanStep {
            server: "beta".to_owned(),
            action: v1::PlanAction::Replace.into(),
            reasons: vec!["ctx_size changed: 4096 -> 8192".to_owned()],
            memory_before: Some(1 << 30),
            memory_after: Some(3 << 29),
            method: Some("drain-restart".to_owned()),
        }],
        generation: Some(11),
        memory_before: 2 << 30,
        memory_after: 5 << 29,
        memory_budget: 16 << 30,
        ..Default::default()
    }
}

#[test]
fn a_rollback_shows_the_memory_the_generation_and_what_it_left_alone() {
    let fake = Fake::new(Script {
        reload: applied(v1::ReloadVerdict::Applied),
        stores: Stores {
            daemon_keys_that_differ: vec!["llama_server.port_range".to_owned()],
            ..Default::default()
        },
        ..Default::default()
    });
    let run = fake.magictl(&["rollback", "9"]);
    assert_eq!(run.exit, Some(0));
    insta::assert_snapshot!(run.stdout, @"
    ACTION   SERVER  MEMORY              WHY
    replace  beta    1.0 GiB -> 1.5 GiB  ctx_size changed: 4096 -> 8192
                                         (drain-restart)
    memory: 2.0 GiB -> 2.5 GiB of 16.0 GiB
    ");
    insta::assert_snapshot!(run.stderr, @"
    different then, and left as it is: llama_server.port_range
    generation 11 is in force
    ");
}

#[test]
fn a_vetoed_activation_is_1_and_says_who_and_why() {
    let exit = v1::Exit {
        class: "out-of-memory-host".to_owned(),
        signal: Some(9),
        incarnation: 4,
        last_lines: vec!["llama_kv_cache: allocating".to_owned()],
        ..Default::default()
    };
    let fake = Fake::new(Script {
        reload: v1::ReloadResponse {
            vetoes: vec![v1::Veto {
                server: "beta".to_owned(),
                reason: "out-of-memory-host".to_owned(),
                detail: "the kernel killed it".to_owned(),
                last_exit: Some(exit),
            }],
            generation: Some(10),
            ..applied(v1::ReloadVerdict::Vetoed)
        },
        ..Default::default()
    });
    let run = fake.magictl(&["profiles", "activate", "demo"]);
    assert_eq!(run.exit, Some(1));
    insta::assert_snapshot!(run.stderr, @"
    magictl: vetoed by beta: out-of-memory-host: the kernel killed it
    incarnation 4 ended: out-of-memory-host: SIGKILL (signal 9)
        llama_kv_cache: allocating
    magictl: the change was taken back; generation 10 is in force again
    ");
}

#[test]
fn the_expected_generation_reaches_every_change() {
    let fake = Fake::new(Script {
        reload: applied(v1::ReloadVerdict::Applied),
        changed: Some(Vec::new()),
        ..Default::default()
    });
    for args in [
        &["reload"][..],
        &["rollback", "9"],
        &["profiles", "activate", "demo"],
        &["start", "--all"],
        &["stop", "--all"],
        &["restart", "--all"],
    ] {
        let asked = fake.asked(&[args, &["--expect-generation", "7"]].concat());
        assert!(asked.contains("expected_generation: Some(7)"), "{asked}");
        assert!(asked.contains("wait: true"), "{asked}");
    }
}

fn idle(name: &str, reason: &str, detail: &str) -> v1::Server {
    v1::Server {
        name: name.to_owned(),
        state: v1::ServerState::Stopped.into(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        memory_needed: Some(5 << 30),
        last_exit: Some(v1::Exit {
            class: "requested".to_owned(),
            last_lines: vec!["of long ago".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn waiting() -> v1::Server {
    idle(
        "beta",
        "waiting-for-memory",
        "needs 5.0 GiB, 1.0 GiB is free",
    )
}

#[test]
fn a_veto_heads_the_status_with_what_to_do() {
    let fake = Fake::new(Script {
        status: v1::GetStatusResponse {
            profile: Some("demo".to_owned()),
            generation: Some(10),
            config: Some(v1::ConfigStatus {
                state: v1::ConfigState::Vetoed.into(),
                vetoes: vec![v1::Veto {
                    server: "beta".to_owned(),
                    reason: "startup-timeout".to_owned(),
                    detail: "not ready after 2m00s".to_owned(),
                    last_exit: None,
                }],
                ..Default::default()
            }),
            servers: vec![idle("alpha", "not-autostarted", ""), waiting()],
            ..Default::default()
        },
        ..Default::default()
    });
    let run = fake.magictl(&["status"]);
    assert_eq!(run.exit, Some(0));
    insta::assert_snapshot!(run.stdout, @"
    the configuration on disk was taken back, because a server did not get ready
    with it; generation 10 stays in force:

    beta: startup-timeout: not ready after 2m00s
    mend the file, or try it again with `magictl reload`

    profile demo, generation 10
    NAME   STATE    PID  ENDPOINT  RESTARTS  UPTIME
    alpha  stopped    -  -                0       -
        stopped: not-autostarted; needs 5.0 GiB
    beta   stopped    -  -                0       -
        stopped: waiting-for-memory: needs 5.0 GiB, 1.0 GiB is free
    ");
}

#[test]
fn a_server_that_waits_for_memory_does_not_blame_its_last_exit() {
    let fake = Fake::new(Script {
        changed: Some(vec![waiting()]),
        ..Default::default()
    });
    let run = fake.magictl(&["start", "beta"]);
    assert_eq!(run.exit, Some(1));
    let told = "magictl: beta: stopped: waiting-for-memory: needs 5.0 GiB, 1.0 GiB is free\n";
    assert_eq!(run.stderr, told);
}
