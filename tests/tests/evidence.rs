//! R25: what is left of incarnations that failed.

use magi_tests::figure;
use magi_tests::harness::{Fleet, Server, full};

/// Lines that each incarnation writes, and that are wanted back.
const LINES: usize = 200;

#[tokio::test]
async fn r25_the_last_lines_and_the_exit_of_the_last_five_incarnations_are_kept() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "10ms");
    fleet.set("restart.max_delay", "10ms");
    fleet.set("restart.max_failures", full(7, 50));
    let mut alpha = Server::faulty("alpha")
        .fault("invalid-utf8")
        .fault("nuls")
        .fault("long-line=10MiB")
        .fault("partial-line")
        .fault("exit-loaded:code=3");
    for n in 0..LINES {
        alpha = alpha.fault(&format!("print=line {n}"));
    }
    fleet.save(&[alpha]);
    fleet.start().await;
    let failed = fleet
        .wait_for("alpha", "gave up", |server| {
            server.detail.contains("failures")
        })
        .await;
    let last = failed.incarnation();
    let events = fleet.events().await.unwrap();
    for incarnation in last - 4..=last {
        let number = incarnation.to_string();
        let args = ["logs", "alpha", "-n", "200", "--incarnation", &number];
        let output = fleet.magictl(&args).await.expect_code(0).stdout;
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines.len(), LINES, "of incarnation {incarnation}");
        // The long line is among them, cut, and what stands before it is not lost.
        assert!(lines.iter().any(|line| line.ends_with('…')));
        assert!(lines.iter().any(|line| line.contains("this line never en")));
        assert!(
            lines
                .iter()
                .any(|line| line.contains(&format!("line {}", LINES - 1)))
        );
        assert!(!output.contains('\0'));
        let end = events
            .iter()
            .find(|e| e.kind == "server-exited" && e.incarnation == Some(incarnation))
            .unwrap();
        assert!(end.message.contains("exited with status 3"), "{end:?}");
    }
    let missing = (last - 5).to_string();
    let args = ["logs", "alpha", "--incarnation", &missing];
    fleet.magictl(&args).await.expect_code(4);
    figure!(
        "R25: {LINES} lines and the exit of each of the last 5 of {last} incarnations, a line of 10 MB among them"
    );
}
