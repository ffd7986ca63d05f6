//! `cargo xtask test docker`: the image, the compose file and the scripts, as people use them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use magi_tests::page;
use serde_json::Value;

use super::project::Project;
use super::{Dockerd, image, since};
use crate::cargo::{self, target};
use crate::debian;
use crate::llama_server;
use crate::narrate::say;

/// What the targets for the container are, and one more.
const LONGEST_BUILD: Duration = Duration::from_secs(300);
const LONGEST_START: Duration = Duration::from_secs(40);
const LONGEST_DISCOVERY: Duration = Duration::from_secs(10);
const LONGEST_RELOAD: Duration = Duration::from_secs(2);
const LONGEST_CHECK: Duration = Duration::from_secs(10);
const LONGEST_BACKUP: Duration = Duration::from_secs(1);
const LONGEST_STOP: Duration = Duration::from_secs(90);
const LARGEST_IMAGE: u64 = 1_000_000_000;
const MOST_MEMORY: u64 = 1 << 30;

/// Programs that people have beside docker, and the Debian packages that bring them.
const NEEDS: [(&str, &str); 3] = [
    ("docker-compose", "docker-compose"),
    ("curl", "curl"),
    ("shellcheck", "shellcheck"),
];

/// Runs it all.
pub(crate) fn run() -> Result<()> {
    let dockerd = Dockerd::start()?;
    debian::provide(&NEEDS)?;
    let llama_server = llama_server::find_or_build()?.canonicalize()?;
    let programs = programs()?;
    image::ensure(&dockerd, "debian:bookworm-slim")?;
    let folder = llama_server.parent().context("it is in a folder")?;
    let project = Project::make(&dockerd, &programs, folder)?;
    project.clear();
    let tested = all(&project);
    if tested.is_err() {
        let _ = project.run("docker compose logs --tail 40 magi >&2");
    }
    project.clear();
    tested
}

/// The folder of what cargo built; `MAGI_BIN_DIR` names another one.
fn programs() -> Result<PathBuf> {
    if let Some(told) = std::env::var_os("MAGI_BIN_DIR") {
        return Ok(PathBuf::from(told).canonicalize()?);
    }
    cargo::build_programs(&[])?;
    Ok(target().join("debug"))
}

fn all(project: &Project<'_>) -> Result<()> {
    project.run("shellcheck packaging/docker/*.sh packaging/docker/healthcheck")?;
    setting_up(project)?;
    compiling(project)?;
    let quick_start = page::commands("docker.md")?;
    let (first, rest) = quick_start
        .split_first()
        .context("docker.md has commands")?;
    // A line at a time, to measure each.
    for line in first.lines() {
        let took = timed(|| project.run(line))?;
        if line.contains("rescan") {
            measured(
                "discovery, with the start of a container",
                took,
                LONGEST_DISCOVERY,
            )?;
        }
        if line.contains("up -d") {
            let healthy = project.wait("the container is healthy", HEALTHY)?;
            measured("up until healthy", took + healthy, LONGEST_START)?;
        }
    }
    for block in rest {
        project.run(block)?;
    }
    for block in page::commands("troubleshooting.md")? {
        project.run(&block)?;
    }
    project.wait("all servers are ready again", READY)?;
    confinement(project)?;
    changes(project)?;
    costs(project)?;
    process_one(project)?;
    one_magid(project)?;
    ending(project)
}

const HEALTHY: &str = "docker inspect -f '{{.State.Health.Status}}' $CONTAINER | grep -qx healthy";

const READY: &str = "$MAGI magictl status alpha beta >/dev/null";

/// What setup.sh says of what is missing, and that it makes everything once.
fn setting_up(project: &Project<'_>) -> Result<()> {
    let told = project.refused("packaging/docker/setup.sh", 1)?;
    ensure!(told.contains("there is no GGUF file in"), "{told}");
    for model in ["alpha", "beta"] {
        project.make_model(model)?;
    }
    let told = project.refused("LLAMA_SERVER_DIR=/nowhere packaging/docker/setup.sh", 1)?;
    ensure!(
        told.contains("there is no llama-server in /nowhere"),
        "{told}"
    );
    // With programs that are there already: from here on .env says so.
    let took = timed(|| project.run("packaging/docker/setup.sh --dev"))?;
    measured("setup.sh with its image", took, LONGEST_BUILD)?;
    project.save_profile(str::to_owned)?;
    let keys = "grep -c '^MAGI_API_KEY=sk-magi-[0-9a-f]\\{64\\}$' .env; stat -c %a .env";
    let keys = project.run(keys)?;
    ensure!(keys == "1\n600\n", "{keys}");
    let before = project.run("grep KEY .env")?;
    let took = timed(|| project.run("packaging/docker/setup.sh"))?;
    say(&format!("measured: setup.sh again, {}", seconds(took)));
    ensure!(
        project.run("grep KEY .env")? == before,
        "the key is another one"
    );
    let size = project.run("docker image inspect -f '{{.Size}}' magi:local")?;
    let size: u64 = size.trim().parse()?;
    say(&format!(
        "measured: the image, without a llama-server, {} MB",
        size / 1_000_000
    ));
    ensure!(size < LARGEST_IMAGE, "the image has {size} bytes");
    Ok(())
}

/// The image as it is built without `--dev`: all that cargo needs is there, and what it makes is taken.
fn compiling(project: &Project<'_>) -> Result<()> {
    project.make_cargo()?;
    project.run(
        "DOCKER_BUILDKIT=1 docker build -q -f packaging/docker/Dockerfile --build-arg LLAMA=mounted \
         -t magi:compiled . && docker run --rm magi:compiled magid --version",
    )?;
    Ok(())
}

/// Nobody is root, nothing is writable, nothing is reachable from elsewhere, and the limits are set.
fn confinement(project: &Project<'_>) -> Result<()> {
    let text = project.run("docker inspect $CONTAINER")?;
    let inspected: Value = serde_json::from_str(&text)?;
    let (host, config) = (&inspected[0]["HostConfig"], &inspected[0]["Config"]);
    const GIB: u64 = 1 << 30;
    ensure!(host["Memory"] == 8 * GIB, "{}", host["Memory"]);
    ensure!(
        host["MemoryReservation"] == 4 * GIB,
        "{}",
        host["MemoryReservation"]
    );
    ensure!(
        host["NanoCpus"].as_u64() <= Some(4_000_000_000),
        "{}",
        host["NanoCpus"]
    );
    ensure!(host["CpuShares"] == 2048, "{}", host["CpuShares"]);
    ensure!(
        host["ReadonlyRootfs"] == true,
        "the image can be written to"
    );
    ensure!(config["User"] == "magi", "{}", config["User"]);
    ensure!(
        config["StopTimeout"].as_u64() == Some(90),
        "{}",
        config["StopTimeout"]
    );
    let mounts = inspected[0]["Mounts"].as_array();
    let is_read_only = |at: &str| {
        let mut mounts = mounts.into_iter().flatten();
        mounts.any(|mount| mount["Destination"] == at && mount["RW"] == false)
    };
    for folder in ["/models", "/etc/magi", "/opt/llama"] {
        ensure!(is_read_only(folder), "{folder} can be written to");
    }
    let listening = project.run("ss -Hltn | awk '{print $4}' | sort -u")?;
    let published = listening.lines().filter(|address| {
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.is_some_and(|port: u16| port == 8000 || (8080..=8099).contains(&port))
    });
    let published: Vec<_> = published.collect();
    ensure!(published.len() == 21, "{published:?}");
    let is_local = |address: &&str| address.starts_with("127.0.0.1:");
    ensure!(published.iter().all(is_local), "{published:?}");
    let budget = project.run("$MAGI magictl check --critical -o json")?;
    let checked: Value = serde_json::from_str(&budget)?;
    ensure!(checked["ok"] == true, "{budget}");
    Ok(())
}

/// An edit of the host's file is applied, exactly to the server that it is about; a wrong one is not.
fn changes(project: &Project<'_>) -> Result<()> {
    let before = pids(project)?;
    project.save_profile(|profile| profile.replacen("parallel = 1", "parallel = 2", 1))?;
    let took = timed(|| project.run("$MAGI magictl reload"))?;
    measured("a reload with one server replaced", took, LONGEST_RELOAD)?;
    let after = pids(project)?;
    ensure!(before["alpha"] != after["alpha"], "alpha was not replaced");
    ensure!(before["beta"] == after["beta"], "beta was replaced");
    project.save_profile(|profile| format!("{profile}nonsense = 1\n"))?;
    let told = project.refused("$MAGI magictl reload", 78)?;
    ensure!(
        told.contains("/etc/magi/profiles/development.toml:"),
        "{told}"
    );
    project.save_profile(str::to_owned)?;
    project.run("$MAGI magictl reload")?;
    Ok(())
}

/// What magid and its gateway take beside the servers.
fn costs(project: &Project<'_>) -> Result<()> {
    let took = timed(|| project.run("$MAGI magictl check"))?;
    measured("all checks", took, LONGEST_CHECK)?;
    // Each change wrote one: what a reload took, it took with that.
    let took = timed(|| project.run("$MAGI magictl history --verify"))?;
    measured("all backups verified", took, LONGEST_BACKUP)?;
    let resident = "$MAGI bash -c 'for status in /proc/[0-9]*/status; do \
                    ! grep -qE \"^Name:.(magid|magi-gateway)$\" $status || grep VmRSS $status; done'";
    let resident = project.run(resident)?;
    let sizes = resident
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    let sizes: Vec<_> = sizes.collect();
    ensure!(sizes.len() == 2, "{resident}");
    let bytes = sizes.iter().sum::<u64>() * 1024;
    say(&format!(
        "measured: magid and its gateway, {} MB resident",
        bytes / 1_000_000
    ));
    ensure!(
        bytes < MOST_MEMORY,
        "magid and its gateway take {bytes} bytes"
    );
    Ok(())
}

/// Orphans are reaped, and what is killed is started again.
fn process_one(project: &Project<'_>) -> Result<()> {
    let leave = "$MAGI sh -c 'for i in 1 2 3 4 5; do (sleep 0.2 &) ; done'";
    project.run(leave)?;
    let none_left = "$MAGI bash -c '! grep -l \") Z \" /proc/[0-9]*/stat && \
                     ! grep -l \"(sleep)\" /proc/[0-9]*/stat' 2>/dev/null";
    project.wait("orphans are reaped", none_left)?;
    let before = pids(project)?;
    project.run(&kill("magi-gateway"))?;
    let back = project.wait(
        "a killed gateway is back",
        "curl -fsS http://127.0.0.1:8000/health",
    )?;
    say(&format!(
        "measured: a killed gateway answers again, {}",
        seconds(back)
    ));
    ensure!(pids(project)? == before, "the servers were touched");
    project.run(&kill("llama-server"))?;
    let is_another = "$MAGI magictl events -o jsonl -n 50 | grep -q signal";
    project.wait("the end of a killed server is told", is_another)?;
    project.wait("killed servers are back", READY)?;
    Ok(())
}

/// Kills all processes of that name, with what the image has.
fn kill(name: &str) -> String {
    format!(
        "$MAGI bash -c 'for stat in /proc/[0-9]*/stat; do \
         read -r pid comm rest < $stat; [ \"$comm\" != \"({name})\" ] || kill -9 $pid; done'"
    )
}

/// Nobody works on the state of a magid that runs, also from another container.
fn one_magid(project: &Project<'_>) -> Result<()> {
    let told = project.refused("docker compose run --rm magi magictl models rescan", 1)?;
    ensure!(told.contains("another magid"), "{told}");
    Ok(())
}

/// It ends in time with 0, with requests in flight finished, and is back with what it knew.
fn ending(project: &Project<'_>) -> Result<()> {
    let ask = "key=$(sed -n s/^MAGI_API_KEY=//p .env); curl -sSN http://127.0.0.1:8000/v1/chat/completions \
               -H \"Authorization: Bearer $key\" -d '{\"model\": \"beta\", \"stream\": true, \
               \"max_tokens\": 1000, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}' > answer & \
               until [ -s answer ]; do sleep 0.01; done; docker compose stop; wait; tail -n 2 answer";
    let began = Timestamp::now();
    let answer = project.run(ask)?;
    measured("stop, with a request in flight", since(began), LONGEST_STOP)?;
    ensure!(answer.contains("data: [DONE]"), "{answer}");
    let status = project.run("docker inspect -f '{{.State.ExitCode}}' $CONTAINER")?;
    ensure!(status.trim() == "0", "it ended with {status}");
    project.run("docker compose up -d")?;
    project.wait("the fleet is back", READY)?;
    let history = project.run("$MAGI magictl history")?;
    ensure!(history.lines().count() > 2, "{history}");
    Ok(())
}

/// The pids of alpha and beta.
fn pids(project: &Project<'_>) -> Result<Value> {
    project.wait("all servers are ready", READY)?;
    let text = project.run("$MAGI magictl status -o json")?;
    let status: Value = serde_json::from_str(&text)?;
    let servers = status["servers"].as_array().context("there are servers")?;
    let pid = |server: &Value| Some((server["name"].as_str()?.to_owned(), server["pid"].clone()));
    Ok(Value::Object(servers.iter().filter_map(pid).collect()))
}

fn timed(run: impl FnOnce() -> Result<String>) -> Result<Duration> {
    let began = Timestamp::now();
    run()?;
    Ok(since(began))
}

fn measured(what: &str, took: Duration, longest: Duration) -> Result<()> {
    say(&format!("measured: {what}, {}", seconds(took)));
    ensure!(
        took <= longest,
        "{what} took {}, more than {}",
        seconds(took),
        seconds(longest)
    );
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
