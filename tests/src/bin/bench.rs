//! The figures that are promised, measured on this machine: see `cargo xtask bench`.

use std::process::ExitCode;
use std::time::Duration;

use magi_proto::v1::ServerState;
use magi_tests::harness::{Fleet, NotifySocket, Resources, Server, cpu_seconds};
use tokio::time::{Instant, sleep};

/// How often each short thing is done.
const REPETITIONS: usize = 20;

/// How long an idle magid is watched.
const IDLE: Duration = Duration::from_secs(60);

/// One line of the table. `measured` is the median, or the one value there is.
struct Figure {
    name: &'static str,
    bound: f64,
    measured: f64,
    worst: f64,
    unit: &'static str,
}

impl Figure {
    fn is_kept(&self) -> bool {
        self.measured <= self.bound
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut figures = vec![
        start_to_ready().await,
        status().await,
        save_to_spawn().await,
        twenty_loads().await,
    ];
    figures.extend(idle().await);
    println!(
        "{:<52} {:>9} {:>9} {:>9}",
        "figure", "bound", "median", "worst"
    );
    for figure in &figures {
        println!(
            "{:<52} {:>9} {:>9} {:>9}  {}",
            figure.name,
            format!("{} {}", figure.bound, figure.unit),
            format!("{:.2}", figure.measured),
            format!("{:.2}", figure.worst),
            if figure.is_kept() { "kept" } else { "MISSED" },
        );
    }
    match figures.iter().all(Figure::is_kept) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn figure(name: &'static str, bound: f64, unit: &'static str, mut values: Vec<f64>) -> Figure {
    values.sort_by(f64::total_cmp);
    Figure {
        name,
        bound,
        measured: values[values.len() / 2],
        worst: values[values.len() - 1],
        unit,
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn servers(count: usize) -> Vec<Server> {
    let name = |n| format!("s{n:02}");
    (0..count).map(|n| Server::faulty(&name(n))).collect()
}

async fn start_to_ready() -> Figure {
    let mut fleet = Fleet::new();
    fleet.save(&servers(3));
    let mut socket = NotifySocket::bind(&fleet.path("notify"));
    fleet.env("NOTIFY_SOCKET", socket.path().to_owned());
    let mut values = Vec::new();
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        fleet.spawn();
        socket
            .next("says READY=1", |message| message.contains("READY=1"))
            .await;
        values.push(milliseconds(begin));
        fleet.terminate().await;
    }
    figure("start of magid to READY, 3 servers", 100.0, "ms", values)
}

async fn status() -> Figure {
    let mut fleet = Fleet::new();
    fleet.save(&servers(3));
    fleet.start().await;
    fleet.all_ready(3).await;
    let mut values = Vec::new();
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        fleet.magictl(&["status"]).await.expect_code(0);
        values.push(milliseconds(begin));
    }
    figure("magictl status, whole process", 15.0, "ms", values)
}

async fn save_to_spawn() -> Figure {
    let mut fleet = Fleet::new();
    fleet.save(&servers(3));
    fleet.start().await;
    fleet.all_ready(3).await;
    let mut values = Vec::new();
    for n in 1..=REPETITIONS {
        let before = fleet.ready("s00").await;
        let mut changed = servers(3);
        changed[0] = changed[0].clone().set("ctx_size", n);
        let begin = Instant::now();
        fleet.save(&changed);
        fleet
            .wait_for("s00", "has a new process", |server| {
                server.pid.is_some() && server.pid != before.pid
            })
            .await;
        values.push(milliseconds(begin));
        fleet.ready_again(&before).await;
    }
    figure("save of a profile to the new process", 250.0, "ms", values)
}

async fn twenty_loads() -> Figure {
    let mut values = Vec::new();
    for _ in 0..3 {
        let mut fleet = Fleet::new();
        let slow = |server: Server| server.fault("load-time=2s");
        fleet.save(&servers(20).into_iter().map(slow).collect::<Vec<_>>());
        let begin = Instant::now();
        fleet.start().await;
        fleet.all_ready(20).await;
        values.push(begin.elapsed().as_secs_f64());
    }
    figure("20 servers that load for 2 s, all ready", 2.6, "s", values)
}

async fn idle() -> Vec<Figure> {
    let mut fleet = Fleet::new();
    fleet.save(&servers(20));
    fleet.start().await;
    fleet
        .wait("20 servers are ready", |servers| {
            servers.len() == 20
                && servers
                    .values()
                    .all(|server| server.state() == ServerState::Ready)
        })
        .await;
    let pid = fleet.pid();
    eprintln!("watching an idle magid for {} s", IDLE.as_secs());
    let before = cpu_seconds(pid);
    sleep(IDLE).await;
    let percent = 100.0 * (cpu_seconds(pid) - before) / IDLE.as_secs_f64();
    vec![
        figure("CPU of a core, 20 idle servers", 0.1, "%", vec![percent]),
        figure(
            "RSS, 20 idle servers",
            20.0,
            "MiB",
            vec![Resources::of(pid).mebibytes()],
        ),
    ]
}
