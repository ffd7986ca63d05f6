//! What it costs to look after fifty servers: see `cargo xtask bench supervisor`, which makes a page of
//! what this prints.

use std::fs;
use std::time::Duration;

use magi_tests::harness::{Fleet, Resources, Server, cpu_seconds};
use tokio::time::{Instant, sleep};

/// How many servers there are.
const SERVERS: usize = 50;

/// How long each situation is watched, and how long it is left alone before.
const WATCHED: Duration = Duration::from_secs(60);
const BEFORE: Duration = Duration::from_secs(15);

/// What a situation costs.
struct Cost {
    situation: &'static str,
    cpu_percent: f64,
    wakeups_per_second: f64,
    starts: u64,
    before: Resources,
    after: Resources,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let plain = |name: &str| Server::faulty(name);
    let crashing = |name: &str| Server::faulty(name).fault("exit-loaded:code=3");
    let costs = [
        cost("idle", plain).await,
        cost("crashing in a loop, 500 ms apart", crashing).await,
    ];
    println!(
        "| {SERVERS} servers, for {} s | CPU of a core | wake-ups/s | starts | CPU per start | memory, at first and at the end | descriptors | threads |",
        WATCHED.as_secs()
    );
    println!("|---|---|---|---|---|---|---|---|");
    costs.iter().for_each(print);
}

async fn cost(situation: &'static str, server: impl Fn(&str) -> Server) -> Cost {
    let mut fleet = Fleet::new();
    fleet.set("restart.max_delay", "500ms");
    fleet.set("restart.max_failures", 0);
    let servers: Vec<_> = (0..SERVERS).map(|n| server(&format!("s{n:02}"))).collect();
    fleet.save(&servers);
    fleet.start().await;
    eprintln!(
        "watching magid for {} s: {situation}",
        (BEFORE + WATCHED).as_secs()
    );
    sleep(BEFORE).await;
    let pid = fleet.pid();
    let (starts, before) = (incarnations(&mut fleet).await, Resources::of(pid));
    let (cpu, wakeups, begin) = (cpu_seconds(pid), wakeups(pid), Instant::now());
    sleep(WATCHED).await;
    let seconds = begin.elapsed().as_secs_f64();
    let cost = Cost {
        situation,
        cpu_percent: 100.0 * (cpu_seconds(pid) - cpu) / seconds,
        wakeups_per_second: (self::wakeups(pid) - wakeups) as f64 / seconds,
        before,
        after: Resources::of(pid),
        starts: incarnations(&mut fleet).await - starts,
    };
    fleet.kill().await;
    cost
}

fn print(cost: &Cost) {
    let per_start = match cost.starts {
        0 => "—".to_owned(),
        starts => {
            let seconds = cost.cpu_percent / 100.0 * WATCHED.as_secs_f64();
            format!("{:.2} ms", 1000.0 * seconds / starts as f64)
        }
    };
    println!(
        "| {} | {:.2} % | {:.0} | {} | {per_start} | {:.1} → {:.1} MiB | {} → {} | {} |",
        cost.situation,
        cost.cpu_percent,
        cost.wakeups_per_second,
        cost.starts,
        cost.before.mebibytes(),
        cost.after.mebibytes(),
        cost.before.descriptors,
        cost.after.descriptors,
        cost.after.threads,
    );
}

async fn incarnations(fleet: &mut Fleet) -> u64 {
    let servers = fleet.status().await.servers;
    servers.iter().filter_map(|server| server.incarnation).sum()
}

/// How often its threads have gone to sleep, and so were woken.
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("magid runs");
    let of_task = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok())
    };
    tasks.flatten().filter_map(of_task).sum()
}
