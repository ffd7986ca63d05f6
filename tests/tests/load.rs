//! The control plane, while clients and servers misbehave.

use std::io::ErrorKind;
use std::time::Duration;

use magi_proto::connect;
use magi_proto::v1::daemon_service_client::DaemonServiceClient;
use magi_proto::v1::server_service_client::ServerServiceClient;
use magi_proto::v1::{GetStatusRequest, TailLogsRequest, WatchEventsRequest, WatchServersRequest};
use magi_tests::figure;
use magi_tests::harness::{
    Fleet, Percentiles, Resources, Server, bar, full, raise_descriptor_limit,
};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How many servers crash in a loop.
const CRASHING: usize = 50;

/// Watchers, each of whom reads what he gets, and how many there are in the short run: its programs are
/// not optimized.
const WATCHERS: usize = 1000;
const FEWER_WATCHERS: usize = 200;

/// Watchers on one connection.
const PER_CONNECTION: usize = 20;

/// Each has read its first message when this returns.
async fn watch(fleet: &Fleet, count: usize, watching: &mut JoinSet<()>) {
    for _ in 0..count / PER_CONNECTION {
        let channel = connect(Some(&fleet.socket())).await.unwrap();
        for _ in 0..PER_CONNECTION {
            let mut client = ServerServiceClient::new(channel.clone());
            let stream = client.watch_servers(WatchServersRequest {}).await;
            let mut stream = stream.unwrap().into_inner();
            stream.message().await.unwrap();
            watching.spawn(async move {
                while stream
                    .message()
                    .await
                    .is_ok_and(|message| message.is_some())
                {}
            });
        }
    }
}

/// Ten readers who never read, in three kinds. They stall when what they were sent fills up what the
/// transport holds for them.
async fn stall(fleet: &Fleet) -> Vec<Box<dyn Send>> {
    let mut stalled: Vec<Box<dyn Send>> = Vec::new();
    for n in 0..10 {
        let channel = connect(Some(&fleet.socket())).await.unwrap();
        let mut servers = ServerServiceClient::new(channel.clone());
        let mut daemon = DaemonServiceClient::new(channel);
        stalled.push(match n % 3 {
            0 => {
                let tail = TailLogsRequest {
                    name: "flood".to_owned(),
                    follow: true,
                    ..TailLogsRequest::default()
                };
                Box::new(servers.tail_logs(tail).await.unwrap())
            }
            1 => Box::new(servers.watch_servers(WatchServersRequest {}).await.unwrap()),
            _ => {
                let events = WatchEventsRequest {
                    follow: true,
                    ..WatchEventsRequest::default()
                };
                Box::new(daemon.watch_events(events).await.unwrap())
            }
        });
    }
    stalled
}

/// Asks for the status, on a thread and a connection of its own: the watchers must not be in the way.
fn measure_status(fleet: &Fleet, count: usize) -> std::thread::JoinHandle<Percentiles> {
    let socket = fleet.socket();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let channel = connect(Some(&socket)).await.unwrap();
            let mut daemon = DaemonServiceClient::new(channel);
            let mut times = Percentiles::default();
            for _ in 0..count {
                let begin = Instant::now();
                daemon.get_status(GetStatusRequest {}).await.unwrap();
                times.add(begin.elapsed());
                sleep(Duration::from_millis(5)).await;
            }
            times
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_status_is_quick_whatever_else_goes_on() {
    raise_descriptor_limit();
    let mut fleet = Fleet::new();
    fleet.set("restart.max_delay", "500ms");
    fleet.set("restart.max_failures", 0);
    fleet.set("logs.max_size", "4MiB");
    let mut servers: Vec<_> = (0..CRASHING)
        .map(|n| Server::faulty(&format!("s{n:02}")).fault("exit-loaded:code=3"))
        .collect();
    servers.push(Server::faulty("flood").fault("flood=10MiB"));
    fleet.save(&servers);
    fleet.start().await;
    fleet
        .wait("all crash in a loop", |servers| {
            let crashing = servers.values().filter(|s| s.name != "flood");
            crashing.filter(|s| s.restarts > 1).count() == CRASHING
        })
        .await;
    let mut watching = JoinSet::new();
    let watchers = full(FEWER_WATCHERS, WATCHERS);
    watch(&fleet, watchers, &mut watching).await;
    let stalled = stall(&fleet).await;
    let count = full(300, 5000);
    let measured = measure_status(&fleet, count);
    while !measured.is_finished() {
        sleep(Duration::from_millis(50)).await;
    }
    let times = measured.join().unwrap();
    let resources = Resources::of(fleet.pid());
    figure!(
        "R28: status beside {CRASHING} crashing servers, {watchers} watchers, 10 stalled readers: {times}; magid has {resources}"
    );
    assert_eq!(watching.len(), watchers);
    drop(stalled);
    assert!(times.p99() <= bar(Duration::from_millis(50)), "{times}");
}

/// What comes over a connection that is no client of magid's.
fn garbage(n: usize) -> Vec<u8> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    match n % 6 {
        0 => (0..4096).map(|byte| (byte * 31 + n) as u8).collect(),
        1 => b"GET /status HTTP/1.1\r\nHost: magid\r\n\r\n".to_vec(),
        // A frame that claims to have 16 MiB.
        2 => [PREFACE, &[0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0]].concat(),
        3 => [PREFACE, &[7; 1000]].concat(),
        4 => PREFACE[..10].to_vec(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn clients_that_send_garbage_cost_nothing() {
    raise_descriptor_limit();
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let before = Resources::of(fleet.pid());
    let log_before = fleet.output().lines().count();
    let measured = measure_status(&fleet, full(50, 500));
    let mut open = Vec::new();
    for n in 0..full(300, 3000) {
        let mut stream = UnixStream::connect(fleet.socket()).await.unwrap();
        // magid may have closed it already.
        let _ = stream.write_all(&garbage(n)).await;
        open.push(stream);
        // Some are left open, in the middle of a word.
        if open.len() == 100 {
            open.clear();
        }
    }
    let times = measured.join().unwrap();
    drop(open);
    while Resources::of(fleet.pid()).descriptors > before.descriptors {
        sleep(Duration::from_millis(20)).await;
    }
    let after = Resources::of(fleet.pid());
    let logged = fleet.output().lines().count() - log_before;
    figure!("garbage: status {times}; before {before}; after {after}; {logged} lines of log");
    assert!(
        after.resident < before.resident + (3 << 20),
        "{before} became {after}"
    );
    assert!(logged < 10, "{}", fleet.output());
    assert!(times.p99() <= bar(Duration::from_millis(50)), "{times}");
}

/// A client that opens connections and never closes them is refused at some number, and the others are
/// not.
#[tokio::test]
async fn one_process_cannot_take_all_connections() {
    raise_descriptor_limit();
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let mut open = Vec::new();
    while !fleet.output().contains("cannot serve more clients") {
        for _ in 0..100 {
            match UnixStream::connect(fleet.socket()).await {
                Ok(connection) => open.push(connection),
                // So many wait to be taken: magid has to get on first.
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(open.len() < 20_000);
    }
    figure!("a process was refused by its connection {}", open.len());
    fleet.magictl(&["status"]).await.expect_code(0);
}
