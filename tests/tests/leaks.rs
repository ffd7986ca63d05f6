//! R19: what crashes for ever costs no more for it.

use std::time::Duration;

use magi_proto::v1::GetStatusRequest;
use magi_tests::figure;
use magi_tests::harness::{Fleet, Resources, Server, full, zombies_of};
use tokio::time::sleep;

/// How many servers crash side by side.
const SERVERS: usize = 20;

/// How far resources may be from what they were.
const TOLERANCE: f64 = 1.05;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// How many processes have been started.
async fn cycles(fleet: &Fleet) -> u64 {
    let status = fleet
        .daemon()
        .get_status(GetStatusRequest {})
        .await
        .unwrap();
    let servers = status.into_inner().servers;
    servers.iter().filter_map(|server| server.incarnation).sum()
}

async fn reach(fleet: &Fleet, cycle: u64) -> Resources {
    while cycles(fleet).await < cycle {
        sleep(LOOK).await;
    }
    Resources::of(fleet.pid())
}

#[tokio::test]
async fn r19_crashes_leave_nothing_behind() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "1ms");
    fleet.set("restart.max_delay", "1ms");
    fleet.set("restart.max_failures", 0);
    let servers: Vec<_> = (0..SERVERS)
        .map(|n| Server::faulty(&format!("s{n:02}")).fault("exit-loaded:signal=9"))
        .collect();
    fleet.save(&servers);
    fleet.start().await;
    let begin = reach(&fleet, 100).await;
    let last = full(1_000, 10_000);
    let mut worst = begin.clone();
    for step in 1..=10 {
        let now = reach(&fleet, last * step / 10).await;

        worst = worst.worst(&now);
    }
    let zombies = zombies_of(fleet.pid());
    figure!("R19: at cycle 100 {begin}; at worst until cycle {last} {worst}; {zombies} zombies");
    assert!(
        worst.resident as f64 <= begin.resident as f64 * TOLERANCE,
        "{begin} became {worst}"
    );
    // Crashes under way have descriptors of their own, more or fewer at each look.
    fleet.magictl(&["stop", "--all"]).await.expect_code(0);
    let end = Resources::of(fleet.pid());
    assert!(
        end.descriptors as f64 <= begin.descriptors as f64 * TOLERANCE,
        "{begin} became {end}"
    );
    assert_eq!((zombies_of(fleet.pid()), fleet.processes().len()), (0, 0));
}
