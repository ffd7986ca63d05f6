//! What servers write: kept in bounds, shown, and passed on to the journal.

use std::os::unix::fs::MetadataExt;

use magi_proto::v1::ServerState;
use magi_tests::figure;
use magi_tests::harness::{Fleet, Server, skipped};
use tokio::net::UnixDatagram;

/// Where the journal's own socket is; its place cannot be chosen.
const JOURNAL: &str = "/run/systemd/journal/socket";

#[tokio::test]
async fn a_flood_does_not_fill_the_disk_and_the_last_lines_stay() {
    let mut fleet = Fleet::new();
    fleet.set("logs.max_size", "1MiB");
    fleet.save(&[Server::faulty("alpha").fault("flood=20MiB")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let log = fleet.path("log/alpha/1.log");
    let written = || std::fs::metadata(&log).unwrap();
    fleet
        .wait_status("much was written", |_| written().len() > 30 << 20)
        .await;
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    let kept = written().blocks() * 512;
    figure!("{} bytes written, {kept} bytes on disk", written().len());
    assert!(kept < 12 << 20, "{kept} bytes are kept");
    let logs = fleet
        .magictl(&["logs", "alpha", "-n", "5"])
        .await
        .expect_code(0);
    assert_eq!(logs.stdout.lines().count(), 5);
}

#[tokio::test]
async fn only_the_newest_incarnations_keep_their_logs() {
    let mut fleet = Fleet::new();
    fleet.set("logs.keep", 2);
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    for _ in 0..3 {
        fleet.magictl(&["restart", "alpha"]).await.expect_code(0);
    }
    let left = fleet
        .magictl(&["logs", "alpha", "--incarnation", "1"])
        .await
        .expect_code(4);
    assert!(left.stderr.contains("3, 4"), "{left:?}");
}

#[tokio::test]
async fn strange_output_is_shown_as_text() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")
        .fault("invalid-utf8")
        .fault("long-line=1MiB")
        .fault("partial-line")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let logs = fleet
        .magictl(&["logs", "alpha", "-n", "50"])
        .await
        .expect_code(0);
    assert!(logs.stdout.lines().all(|line| line.len() < 20_000));
}

#[tokio::test]
async fn a_failed_start_carries_its_last_lines() {
    let mut fleet = Fleet::new();
    fleet.set("restart.max_failures", 1);
    fleet.save(&[Server::faulty("alpha")
        .fault("print=cudaMalloc failed: out of memory")
        .fault("exit-loaded:code=1")]);
    fleet.start().await;
    let alpha = fleet.state("alpha", ServerState::Failed).await;
    assert_eq!(alpha.reason, "out-of-memory-device");
    let exit = alpha.last_exit.unwrap();
    assert!(
        exit.last_lines
            .iter()
            .any(|line| line.contains("cudaMalloc"))
    );
    let failed = fleet.magictl(&["start", "alpha"]).await.expect_code(1);
    assert!(failed.all().contains("cudaMalloc"), "{failed:?}");
}

/// With a journal of the test's own: there is none on machines without systemd.
#[tokio::test]
async fn lines_of_servers_and_events_of_magid_go_to_the_journal() {
    if std::path::Path::new(JOURNAL).exists() || !nix::unistd::Uid::effective().is_root() {
        return skipped("the journal's socket is systemd's own, or only root may make it");
    }
    std::fs::create_dir_all("/run/systemd/journal").unwrap();
    let journal = UnixDatagram::bind(JOURNAL).unwrap();
    let mut fleet = Fleet::new();
    // magid's standard error is the file that the harness opens for it.
    std::fs::write(fleet.dir().join("magid.out"), "").unwrap();
    let meta = std::fs::metadata(fleet.dir().join("magid.out")).unwrap();
    fleet.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
    fleet.save(&[Server::faulty("alpha").fault("print=0.00.001.000 E something is wrong")]);
    fleet.start().await;
    let mut seen = Vec::new();
    let search = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = journal.recv(&mut buffer).await.unwrap();
            seen.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            let line = seen.iter().any(|entry| {
                entry.contains("something is wrong")
                    && entry.contains("PRIORITY\n")
                    && entry.contains("\u{0}3\nTARGET")
                    && entry.contains("MAGI_SERVER\n")
                    && entry.contains("alpha")
                    && entry.contains("MAGI_INCARNATION")
            });
            let event = seen
                .iter()
                .any(|entry| entry.contains("MESSAGE_ID") && entry.contains("server-state"));
            if line && event {
                return;
            }
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), search).await;
    std::fs::remove_file(JOURNAL).unwrap();
    assert!(found.is_ok(), "{seen:#?}");
}
