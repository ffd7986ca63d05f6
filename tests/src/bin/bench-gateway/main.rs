//! What the gateway costs: see `cargo xtask bench gateway`, which makes a page of what this prints.
//!
//! Everything is measured in one run against the same servers, in turns, so that what else the machine
//! does hits all alike. It needs nginx and wrk.

mod load;
mod peers;
mod streams;

use std::process::ExitCode;

use magi_tests::harness::{Fleet, Gateway, Resources, Server, llama_server, peak_memory};
use tokio::time::Instant;

use load::{Load, Measured, Question};
use peers::Peer;

/// How often each load is repeated. The median counts.
const ROUNDS: usize = 15;

/// How many tokens a short answer has.
const SHORT: u32 = 32;

/// What is asked with nothing else, in bytes.
const SMALL: usize = 1 << 10;

/// What is asked with a picture of 200 kB, in bytes.
const PICTURE: usize = 256 << 10;

/// What is asked with several, in bytes.
const LARGE: usize = 1 << 20;

/// How many streams are open at a time.
const STREAMS: usize = 1000;

/// One thing that was promised.
struct Figure {
    name: String,
    promised: String,
    measured: String,
    /// None: nothing was promised.
    is_kept: Option<bool>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(llama_server) = llama_server() else {
        eprintln!("there is no real llama-server: `cargo xtask llama-server` makes one");
        return ExitCode::FAILURE;
    };
    let mut fleet = Fleet::new();
    let fast = peers::fast_server(&fleet);
    let places = |server: Server, places: u32, index: u16| {
        let server = server.set("parallel", places);
        server.set("port", fleet.port(index))
    };
    fleet.save(&[
        places(Server::real("fast", &fast), 64, 1),
        places(Server::real("real", &llama_server), 8, 2).set("ctx_size", 8192),
        places(Server::faulty("slow"), 1000, 3).fault("token-time=500ms"),
    ]);
    fleet.start().await;
    fleet.all_ready(3).await;
    let mut gateway = Gateway::new(&fleet, 0);
    let begin = Instant::now();
    gateway.spawn();
    gateway.listening().await;
    let start = begin.elapsed().as_secs_f64() * 1000.0;
    gateway.attached(&fleet).await;
    let idle = Resources::of(gateway.pid()).mebibytes();

    let through = Peer::there("the gateway", &gateway.url());
    let mut figures = throughput(&fleet, &through, &llama_server).await;
    figures.push(at_most("start to listening, in ms", 50.0, start));
    figures.push(at_most("memory when idle, in MiB", 15.0, idle));
    gateway.kill().await;
    gateway.spawn();
    gateway.attached(&fleet).await;
    let before = peak_memory(gateway.pid());
    load::post_mebibytes(&gateway.url(), 10).await;
    let grown = (peak_memory(gateway.pid()) - before) as f64 / f64::from(1 << 20);
    figures.push(at_most(
        "memory that a body of 10 MiB adds, in MiB",
        11.5,
        grown,
    ));
    let memory = streams::memory_of(&gateway, STREAMS).await;
    figures.push(at_most(
        &format!("memory with {STREAMS} open streams, in MiB"),
        40.0,
        memory,
    ));
    fleet.kill().await;
    tell(&figures)
}

async fn throughput(fleet: &Fleet, through: &Peer, llama_server: &std::path::Path) -> Vec<Figure> {
    let fast = format!("http://127.0.0.1:{}", fleet.port(1));
    let real = format!("http://127.0.0.1:{}", fleet.port(2));
    let nginx = peers::nginx(fleet, "nginx", fleet.port(1), fleet.port(4));
    let direct = Peer::there("the upstream alone", &fast);
    let mut figures = Vec::new();
    println!("| upstream | body | connections | through | requests/s | p50 | p99 |");
    println!("|---|---|---|---|---|---|---|");
    for (bytes, connections) in [(SMALL, 8), (SMALL, 64), (LARGE, 8), (LARGE, 64)] {
        let question = Question {
            model: "fast",
            bytes,
            tokens: 1,
        };
        let load = Load::new(fleet, question, connections);
        let measured = load.compare(&[through, &nginx, &direct], ROUNDS).await;
        print("fast", bytes, connections, &measured);
        let [ours, theirs, alone] = &measured[..] else {
            unreachable!("three were measured")
        };
        let what = format!("{}, {connections} connections", size(bytes));
        figures.push(at_least(
            &format!("requests/s to nginx's, {what}"),
            0.9,
            ours.throughput_to(theirs),
        ));
        figures.push(at_most(
            &format!("p99 to nginx's, {what}"),
            1.5,
            ours.beside(theirs, |ours, theirs| ours.p99 / theirs.p99),
        ));
        if (bytes, connections) == (SMALL, 8) {
            let added = |to: &Measured| to.beside(alone, |to, alone| to.p50 - alone.p50);
            figures.push(at_most("added to the p50, in µs", 150.0, added(ours)));
            figures.push(promised_or_not("the same by nginx", None, added(theirs)));
        }
    }
    drop(nginx);
    let nginx = peers::nginx(fleet, "nginx-real", fleet.port(2), fleet.port(6));
    let router = peers::router(fleet, llama_server, fleet.port(5)).await;
    let direct = Peer::there("the upstream alone", &real);
    let peers = [through, &nginx, &router, &direct];
    let mut before_real = async |bytes, tokens, to_router, to_direct| {
        let ratios = to_others(fleet, &peers, bytes, tokens).await;
        let of = format!("{}, max_tokens {tokens}", size(bytes));
        let router = format!("requests/s to llama.cpp's router's, {of}");
        figures.push(promised_or_not(&router, to_router, ratios.to_router));
        let direct = format!("requests/s to llama-server's own, {of}");
        figures.push(promised_or_not(&direct, to_direct, ratios.to_direct));
        figures.push(promised_or_not(
            "the same through nginx",
            None,
            ratios.of_nginx,
        ));
    };
    before_real(PICTURE, SHORT, Some(1.5), Some(0.95)).await;
    // With little to read llama.cpp's router costs less,
    before_real(SMALL, SHORT, None, Some(0.95)).await;
    // and with little to answer any proxy costs more of two cores that it shares with the server.
    before_real(SMALL, 1, Some(1.5), None).await;
    figures
}

/// Requests per second through the gateway, before a real llama-server.
struct Ratios {
    to_router: f64,
    to_direct: f64,
    /// Those of nginx to those of llama-server.
    of_nginx: f64,
}

async fn to_others(fleet: &Fleet, peers: &[&Peer; 4], bytes: usize, tokens: u32) -> Ratios {
    let question = Question {
        model: "real",
        bytes,
        tokens,
    };
    let load = Load::new(fleet, question, 8);
    let measured = load.compare(peers, ROUNDS).await;
    let upstream = format!("llama-server, max_tokens {tokens}");
    print(&upstream, question.bytes, 8, &measured);
    let [ours, nginx, router, alone] = &measured[..] else {
        unreachable!("four were measured")
    };
    Ratios {
        to_router: ours.throughput_to(router),
        to_direct: ours.throughput_to(alone),
        of_nginx: nginx.throughput_to(alone),
    }
}

fn print(upstream: &str, bytes: usize, connections: u32, measured: &[Measured]) {
    for one in measured {
        println!(
            "| {upstream} | {} | {connections} | {} | {:.0} | {:.0} µs | {:.0} µs |",
            size(bytes),
            one.peer,
            one.median(|round| round.per_second),
            one.median(|round| round.p50),
            one.median(|round| round.p99),
        );
    }
}

fn size(bytes: usize) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

fn at_least(name: &str, bound: f64, measured: f64) -> Figure {
    Figure {
        name: name.to_owned(),
        promised: format!("≥ {bound}"),
        measured: format!("{measured:.2}"),
        is_kept: Some(measured >= bound),
    }
}

fn at_most(name: &str, bound: f64, measured: f64) -> Figure {
    Figure {
        name: name.to_owned(),
        promised: format!("≤ {bound}"),
        measured: format!("{measured:.2}"),
        is_kept: Some(measured <= bound),
    }
}

/// A figure that is there for comparison, unless a bound was promised.
fn promised_or_not(name: &str, bound: Option<f64>, measured: f64) -> Figure {
    match bound {
        Some(bound) => at_least(name, bound, measured),
        None => Figure {
            name: name.to_owned(),
            promised: String::new(),
            measured: format!("{measured:.2}"),
            is_kept: None,
        },
    }
}

fn tell(figures: &[Figure]) -> ExitCode {
    println!("\n| figure | promised | measured | |\n|---|---|---|---|");
    for figure in figures {
        let verdict = match figure.is_kept {
            Some(true) => "kept",
            Some(false) => "missed",
            None => "",
        };
        let Figure {
            name,
            promised,
            measured,
            ..
        } = figure;
        println!("| {name} | {promised} | {measured} | {verdict} |");
    }
    match figures.iter().all(|figure| figure.is_kept != Some(false)) {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("a figure was missed");
            ExitCode::FAILURE
        }
    }
}
