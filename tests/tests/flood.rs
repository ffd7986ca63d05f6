//! Servers that write more than anybody can read.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use magi_proto::v1::{TailLogsRequest, WatchEventsRequest};
use magi_tests::figure;
use magi_tests::harness::{Chat, Fleet, Resources, Server, bar, faulty_llama_server, full};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// How much of each log is kept.
const KEPT: u64 = 16 << 20;

/// What may be written between two looks at a log, and the looks may be late.
const BETWEEN_LOOKS: u64 = 100 << 20;

/// Tokens of the answer that is measured.
const TOKENS: u32 = 300;

const FLOOD: [&str; 2] = ["flood=100MiB", "token-time=1ms"];

/// How quick a server was.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    bytes_per_second: f64,
    tokens_per_second: f64,
}

impl Speed {
    fn best(self, other: Self) -> Self {
        Self {
            bytes_per_second: self.bytes_per_second.max(other.bytes_per_second),
            tokens_per_second: self.tokens_per_second.max(other.tokens_per_second),
        }
    }
}

/// Measures a server that floods `log`; gives also the most that this took on the disk.
async fn measure(endpoint: &str, log: &Path, time: Duration) -> (Speed, u64) {
    let (begin, length) = (Instant::now(), fs::metadata(log).unwrap().len());
    let answer = Chat::start(endpoint, TOKENS).await.unwrap();
    answer.rest().await.unwrap();
    let tokens_per_second = f64::from(TOKENS) / begin.elapsed().as_secs_f64();
    let mut on_disk = 0;
    while begin.elapsed() < time {
        sleep(Duration::from_millis(50)).await;
        on_disk = on_disk.max(fs::metadata(log).unwrap().blocks() * 512);
    }
    let written = fs::metadata(log).unwrap().len() - length;
    let speed = Speed {
        bytes_per_second: written as f64 / begin.elapsed().as_secs_f64(),
        tokens_per_second,
    };
    (speed, on_disk)
}

/// The same server with nobody who looks after it, or at what it writes.
async fn alone(fleet: &Fleet, time: Duration) -> Speed {
    let log = fleet.path("alone.log");
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap();
    let port = fleet.port(0);
    let mut command = Command::new(faulty_llama_server());
    command.arg("-m").arg(fleet.make_model("alone"));
    command.args(["--port", &port.to_string()]);
    for fault in FLOOD {
        command.args(["--fault", fault]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let mut server = command.kill_on_drop(true).spawn().unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    while Chat::start(&endpoint, 1).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    let (speed, _) = measure(&endpoint, &log, time).await;
    server.kill().await.unwrap();
    fs::remove_file(&log).unwrap();
    speed
}

/// Readers of the flood who never read: one over the API, and a magictl whose output nobody takes.
async fn stuck_readers(fleet: &Fleet) -> (Box<dyn Send>, tokio::process::Child) {
    let tail = TailLogsRequest {
        name: "alpha".to_owned(),
        follow: true,
        ..TailLogsRequest::default()
    };
    let stream = fleet.servers().tail_logs(tail).await.unwrap();
    let mut magictl = fleet.magictl_command(&["logs", "alpha", "-f"]);
    let magictl = magictl.stdout(Stdio::piped()).spawn().unwrap();
    (Box::new(stream), magictl)
}

#[tokio::test]
async fn r24_a_flood_slows_nobody_down_and_takes_no_more_than_it_may() {
    let mut fleet = Fleet::new();
    fleet.set("logs.max_size", KEPT);
    let flood = FLOOD
        .iter()
        .fold(Server::faulty("alpha"), |server, fault| server.fault(fault));
    fleet.save(&[flood]);
    fleet.start().await;
    let (rounds, time) = full((2, Duration::from_secs(1)), (6, Duration::from_secs(10)));
    let (mut with, mut without) = (Speed::default(), Speed::default());
    let (mut on_disk, mut given_back) = (0, 0);
    let before = Resources::of(fleet.pid());
    let mut worst = before.clone();
    for _ in 0..rounds {
        fleet.magictl(&["start", "alpha"]).await.expect_code(0);
        let readers = stuck_readers(&fleet).await;
        let alpha = fleet.ready("alpha").await;
        let log = fleet.path(&format!("log/alpha/{}.log", alpha.incarnation()));
        let (speed, most) = measure(alpha.endpoint(), &log, time).await;
        with = with.best(speed);
        on_disk = on_disk.max(most);
        worst = worst.worst(&Resources::of(fleet.pid()));
        let noted = fleet
            .wait_for("alpha", "tells what was given back", |server| {
                server.notes.iter().any(|note| note.contains("given back"))
            })
            .await;
        given_back += usize::from(!noted.notes.is_empty());
        drop(readers);
        fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
        without = without.best(alone(&fleet, time).await);
    }
    let ratio = |a: f64, b: f64| a / b;
    let bytes = ratio(with.bytes_per_second, without.bytes_per_second);
    let tokens = ratio(with.tokens_per_second, without.tokens_per_second);
    figure!(
        "R24: a flood of {:.0} MB/s, {tokens:.2} of the tokens/s and {bytes:.2} of the bytes/s it has alone; \
         {on_disk} bytes on disk at most; magid before {before}, at worst {worst}",
        with.bytes_per_second / 1e6
    );
    assert_eq!(given_back, rounds);
    assert!(on_disk <= KEPT + BETWEEN_LOOKS, "{on_disk}");
    assert!(
        worst.resident <= before.resident + (16 << 20),
        "{before} became {worst}"
    );
    // The short run is too short to be sure of anything but a standstill.
    let least = full(0.3, 0.9);
    assert!(
        bytes >= least && tokens >= least,
        "{with:?} with, {without:?} without magid"
    );
}

#[tokio::test]
async fn r26_no_event_is_lost_while_servers_flood() {
    let mut fleet = Fleet::new();
    fleet.set("logs.max_size", KEPT);
    let mut servers: Vec<_> = (0..3)
        .map(|n| Server::faulty(&format!("flood{n}")).fault("flood=50MiB"))
        .collect();
    servers.push(Server::faulty("alpha"));
    fleet.save(&servers);
    fleet.start().await;
    fleet.all_ready(4).await;
    let request = WatchEventsRequest {
        last: Some(1000),
        follow: true,
        servers: Vec::new(),
    };
    let mut stream = fleet
        .daemon()
        .watch_events(request)
        .await
        .unwrap()
        .into_inner();
    let restarts = full(10, 200);
    let mut before = fleet.ready("alpha").await;
    for _ in 0..restarts {
        fleet.magictl(&["restart", "alpha"]).await.expect_code(0);
        before = fleet.ready_again(&before).await;
    }
    let last = before.incarnation;
    let (mut newest, mut ends) = (0, 0);
    let begin = Instant::now();
    'all: loop {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!(message.missed, 0);
        for event in message.events {
            assert_eq!(event.sequence, newest + 1);
            newest = event.sequence;
            ends += usize::from(event.kind == "server-exited");
            if event.reason == "healthy" && event.incarnation == last && event.server() == "alpha" {
                break 'all;
            }
        }
    }
    figure!(
        "R26: {newest} of {newest} events arrived, {ends} of them ends of processes, while 3 servers flooded"
    );
    assert_eq!(ends, restarts);
    assert!(begin.elapsed() < bar(Duration::from_secs(5)));
}
