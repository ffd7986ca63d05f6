//! Many commands at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use magi_proto::v1::{
    ReloadRequest, RestartServersRequest, ServerState, StartServersRequest, StopServersRequest,
};
use magi_tests::figure;
use magi_tests::harness::{Fleet, Server, full};

/// How many servers there are.
const SERVERS: u64 = 50;

/// How many commands are under way at a time.
const COMMANDS: u64 = 100;

/// Numbers that look random and are the same in every run (splitmix64).
fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The servers of a profile whose `edition` decides which of them are defined otherwise than in the
/// edition before. Each writes down when it runs, and whether another one of its name still does.
fn servers(fleet: &Fleet, edition: u64) -> Vec<Server> {
    let server = |n: u64| {
        let record = fleet.path(&format!("ran/s{n:02}"));
        let server = Server::faulty(&format!("s{n:02}"))
            .arg("--record")
            .arg(record.display().to_string())
            .set("ctx_size", 512 + (edition + n) / 7);
        let server = match n % 10 {
            0 => server.fault("ignore-sigterm"),
            1 => server.fault("exit-after=300ms"),
            2 => server.fault("load-time=100ms"),
            3 => server.fault("grandchild"),
            _ => server,
        };
        // The others may have a successor beside them for a while.
        match is_alone(n) {
            true => server.set("replace", "drain-restart"),
            false => server,
        }
    };
    (0..SERVERS).map(server).collect()
}

/// Whether a server is to have one incarnation at a time, whatever happens.
fn is_alone(n: u64) -> bool {
    !n.is_multiple_of(3)
}

/// Asks for something, of one, several or all servers. Gives whether it was done.
async fn command(fleet: &Fleet, mut seed: u64) -> bool {
    let wait = draw(&mut seed).is_multiple_of(4);
    let count = [1, 1, 5, SERVERS][draw(&mut seed) as usize % 4];
    let names: Vec<_> = (0..count)
        .map(|_| format!("s{:02}", draw(&mut seed) % SERVERS))
        .collect();
    match draw(&mut seed) % 5 {
        0 => {
            let request = StopServersRequest {
                names,
                wait,
                ..StopServersRequest::default()
            };
            fleet.servers().stop_servers(request).await.is_ok()
        }
        1 | 2 => {
            let request = StartServersRequest {
                names,
                wait,
                ..StartServersRequest::default()
            };
            fleet.servers().start_servers(request).await.is_ok()
        }
        3 => {
            let request = RestartServersRequest {
                names,
                wait,
                ..RestartServersRequest::default()
            };
            fleet.servers().restart_servers(request).await.is_ok()
        }
        _ => {
            fleet.save_at_once(&servers(fleet, draw(&mut seed) % 100));
            let request = ReloadRequest {
                wait,
                ..ReloadRequest::default()
            };
            fleet.daemon().reload(request).await.is_ok()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_there_are_never_two_incarnations_of_one_server() {
    let mut fleet = Fleet::new();
    fleet.set("llama_server.stop_timeout", "100ms");
    fleet.set("llama_server.drain_timeout", "1s");
    fleet.set("restart.initial_delay", "10ms");
    fleet.set("restart.max_delay", "10ms");
    fleet.set("restart.max_failures", 0);
    std::fs::create_dir(fleet.path("ran")).unwrap();
    fleet.save(&servers(&fleet, 0));
    fleet.start().await;
    let rounds = full(2, 50);
    let mut done = 0;
    for round in 0..rounds {
        let commands = (0..COMMANDS).map(|n| command(&fleet, round * COMMANDS + n));
        let all = all_of(commands);
        done += tokio::time::timeout(Duration::from_secs(120), all)
            .await
            .expect("every command is answered");
    }
    // In the end everything is as it was asked for last.
    fleet.save(&servers(&fleet, 1));
    fleet.magictl(&["reload", "--no-wait"]).await;
    let start = ["start", "--all", "--no-wait"];
    fleet.magictl(&start).await.expect_code(0);
    fleet
        .wait(
            "all are ready, but for those that exit by themselves",
            |servers| {
                let exits = |name: &str| name.ends_with('1');
                let mut others = servers.values().filter(|s| !exits(&s.name));
                servers.len() == 50 && others.all(|s| s.state() == ServerState::Ready)
            },
        )
        .await;

    let mut ran = 0;
    for entry in std::fs::read_dir(fleet.path("ran")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let number: u64 = name.trim_start_matches('s').parse().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!is_alone(number) || !text.contains("overlap"), "{text}");
        ran += text
            .lines()
            .filter(|line| line.starts_with("start"))
            .count();
    }
    figure!(
        "R13: {} commands, {done} done, {ran} incarnations, never two of one server",
        rounds * COMMANDS
    );
    assert!(ran as u64 > SERVERS);
}

/// Waits for all of them at once, and gives how many were done.
async fn all_of(commands: impl Iterator<Item = impl Future<Output = bool>>) -> u64 {
    let mut pending: Vec<_> = commands.map(Box::pin).collect();
    let mut done = 0;
    poll_fn(|context| {
        pending.retain_mut(|command| match command.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(is_done) => {
                done += u64::from(is_done);
                false
            }
        });
        match pending.is_empty() {
            true => Poll::Ready(done),
            false => Poll::Pending,
        }
    })
    .await
}
