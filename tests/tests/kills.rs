//! magid killed, or without room, in the middle of a change.

use std::collections::BTreeSet;
use std::time::Duration;

use magi_proto::v1::ConfigState;
use magi_tests::figure;
use magi_tests::harness::{Disk, Fleet, Server, full, skipped};
use tokio::time::{Instant, sleep};

/// Half a change is replaced beside what serves, and half needs its port.
fn generation(fleet: &Fleet, size: u32) -> Vec<Server> {
    let server = |name: &str| Server::faulty(name).set("ctx_size", size);
    let comes_and_goes = match size.is_multiple_of(2) {
        true => "even",
        false => "odd",
    };
    vec![
        server("alpha").fault("load-time=20ms"),
        server("beta").set("port", fleet.port(0)),
        server(comes_and_goes),
    ]
}

/// Waits until the servers are these, each in one process.
async fn one_of_each(fleet: &mut Fleet, sizes: [u32; 2]) {
    let count = 3;
    fleet.all_ready(count).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while fleet.processes().len() > count {
        assert!(Instant::now() < deadline, "{:?}", fleet.processes());
        sleep(Duration::from_millis(10)).await;
    }
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for server in fleet.status().await.servers {
        let args = ["explain", &server.name, "-o", "json"];
        let explained = fleet.magictl(&args).await.expect_code(0);
        let argv = explained.json()["argv"].to_string();
        let is = |size: &u32| argv.contains(&format!("\"--ctx-size\",\"{size}\""));
        let size = sizes.into_iter().find(is);
        seen.insert(size.unwrap_or_else(|| panic!("{argv}")));
        names.insert(server.name);
    }
    assert_eq!(seen.len(), 1, "parts of both: {seen:?}");
    let expected = generation(fleet, seen.first().copied().unwrap());
    let expected: BTreeSet<String> = expected.iter().map(|s| s.name().to_owned()).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_kill_at_any_moment_of_a_change_leaves_one_of_both_generations() {
    let mut fleet = Fleet::new();
    fleet.save(&generation(&fleet, 1000));
    fleet.start().await;
    fleet.all_ready(3).await;
    let rounds = full(10, 100);
    // A change takes about so long: the kills are spread over all of it.
    let begin = Instant::now();
    fleet.save(&generation(&fleet, 1001));
    fleet.magictl(&["reload"]).await.expect_code(0);
    let whole = begin.elapsed();
    for round in 2..rounds + 2 {
        let (old, new) = (999 + round, 1000 + round);
        fleet.save_at_once(&generation(&fleet, new));
        let reload = fleet.magictl_command(&["reload"]).output();
        let reload = tokio::spawn(reload);
        sleep(whole * (round - 2) / rounds).await;
        fleet.kill().await;
        let _ = reload.await;
        fleet.start().await;
        one_of_each(&mut fleet, [old, new]).await;
        let verified = fleet.magictl(&["history", "--verify"]).await;
        verified.expect_code(0);
        // Files are the truth: in the end it is what they say.
        fleet.magictl(&["reload"]).await.expect_code(0);
        one_of_each(&mut fleet, [new, new]).await;
    }
    let newest = fleet.status().await.generation.unwrap();
    figure!("{rounds} kills over a change of {whole:?}: generation {newest}, all verified");
    fleet.terminate().await;
    fleet.wait_no_processes().await;
    let left = std::fs::read_dir(fleet.path("state/servers")).unwrap();
    let seats = left.count();
    // A server has a seat and, while it is replaced, another one.
    assert!(seats <= 8, "{seats} records");
}

#[tokio::test]
async fn a_full_disk_refuses_a_change_and_loses_nothing() {
    let mut fleet = Fleet::new();
    let Some(disk) = Disk::mount(&fleet.path("state"), 256 * 1024) else {
        return skipped("only root may mount disks");
    };
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let before = fleet.all_ready(1).await;
    let good = std::fs::read_to_string(fleet.profile_path()).unwrap();
    disk.fill();
    let changed = Server::faulty("alpha").set("ctx_size", 512);
    fleet.save(std::slice::from_ref(&changed));
    let refused = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(refused.stderr.contains("No space left"), "{refused:?}");
    assert!(
        refused.stderr.contains("nothing was changed"),
        "{refused:?}"
    );
    let shown = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(shown.all().contains("No space left"), "{shown:?}");
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
    // Nor does a rollback touch a file whose text it could not keep.
    let mine = format!("# mine\n{good}");
    fleet.save_text(&mine);
    let refused = fleet.magictl(&["rollback", "1"]).await.expect_code(1);
    assert!(refused.stderr.contains("No space left"), "{refused:?}");
    let now = std::fs::read_to_string(fleet.profile_path()).unwrap();
    assert_eq!(now, mine);
    fleet.magictl(&["history", "--verify"]).await.expect_code(0);
    assert_eq!(fleet.status().await.generation, Some(1));
    assert_eq!(fleet.all_ready(1).await["alpha"].pid, before["alpha"].pid);
    disk.empty();
    fleet.save(&[changed]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(1).await;
    assert_ne!(after["alpha"].pid, before["alpha"].pid);
    assert_eq!(fleet.status().await.generation, Some(2));
    let status = fleet.status().await;
    assert_eq!(status.config.unwrap().state(), ConfigState::Applied);
    // What could not be written has left nothing behind.
    let folder = std::fs::read_dir(fleet.path("state/generations")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with('.')));
    fleet.terminate().await;
}
