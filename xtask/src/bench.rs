//! `cargo xtask bench`: the figures that are promised, measured on this machine.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::cargo::{self, target, workspace};
use crate::narrate::say;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure; without it, the figures that are promised
    what: Option<What>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// What it costs to look after fifty servers; writes docs/supervisor.md
    Supervisor,
    /// What ten thousand models and a thousand servers cost; writes docs/models-cost.md
    Models,
    /// What a request costs on its way through the gateway, beside nginx and llama.cpp's router; writes
    /// docs/gateway-cost.md
    Gateway,
}

/// What stands above the table of `docs/supervisor.md`.
const SUPERVISOR: &str = "\
# What supervision costs

Made by `cargo xtask bench supervisor`: a released magid on one machine with two cores, that looks after fifty servers which
do nothing but exist, or crash. The kernel counts a wake-up each time a thread goes to sleep.

";

/// What stands below it.
const SUPERVISOR_NOTES: &str = "
When nothing happens, what wakes magid are its looks at ready servers (`liveness.interval`, 10 s): one `/health` each, and
the process's CPU time and sockets from `/proc`. Everything else waits for an event: the end of a process for its pidfd, a
changed file for inotify, a client for his socket.

A start has its costs in the kernel: a process is made, a log and a record are written, and after its end all processes
are looked at once, to see that nothing is left of it. Looks are shared by all servers that end at the same time.
";

/// What stands above the tables of `docs/models-cost.md`.
const MODELS: &str = "\
# What models and servers cost

Made by `cargo xtask bench models`: a released magid on one machine with two cores, that knows 10,000 models and has a
profile of 1,000 servers, while the machine did other work as well. Each figure is the median of so many measurements, and
the worst of them beside it.

";

/// What stands below them.
const MODELS_NOTES: &str = "
The models are headers of 10 KB with a hole behind them, ten in each of 1,000 folders, and in the page cache. Real headers
are as large as their vocabulary, and take as long as that is to pass over: the last line of the first table.

A scan that finds nothing new asks for the size and time of each file, and opens none. A plan reads the files, finds the
model of each server, looks whether it is still the same file, tells what each server would need of memory, and compares
with what runs. From the figure of a reload the load of the server itself is taken away, which was measured by starting it
by hand with the same model until its `/health` said 200.

The reader of llama.cpp's Python package keeps the whole header, every token of it, and does not say what a model is for.
llama-server's router lists names of files, and reads none of them before it serves one. Neither notices what changes.
";

/// What stands above the tables of `docs/gateway-cost.md`.
const GATEWAY: &str = "\
# What the gateway costs

Made by `cargo xtask bench gateway`: a released magi-gateway on one machine with two cores, which the clients, the servers
and whatever is compared share. Each figure is the median of fifteen rounds of a second, made in turns: the gateway, its peer,
the upstream alone, and back. A ratio is the median of those of each round. The fast upstream is an nginx that answers at once, without
looking at the request; llama-server has a model that takes next to no time.

";

/// What stands below them.
const GATEWAY_NOTES: &str = "
Both read a whole body before they forward it. The gateway looks at each byte of it, too, since the model may be named at
its end.

Before llama-server both cores are busy, and each request gives up some 50 µs of them to whichever proxy there is. With one
token that is a tenth of the time that the server needs; with the answers of a real model it cannot be seen. llama.cpp's router
takes each request apart and makes it anew, which costs the more the larger it is; 256 KiB is a question with a picture.
";

/// Builds what is released, and measures it.
pub(crate) fn run(options: &Options) -> Result<()> {
    cargo::build_programs(&["--release"])?;
    match options.what {
        None => cargo::run(&mut Command::new(target().join("release/bench"))),
        Some(What::Supervisor) => page(
            "supervisor",
            "bench-supervisor",
            SUPERVISOR,
            SUPERVISOR_NOTES,
        ),
        Some(What::Models) => page("models-cost", "bench-models", MODELS, MODELS_NOTES),
        Some(What::Gateway) => page("gateway-cost", "bench-gateway", GATEWAY, GATEWAY_NOTES),
    }
}

/// Makes a page of what a program measures and prints.
fn page(name: &str, program: &str, above: &str, below: &str) -> Result<()> {
    let mut bench = Command::new(target().join("release").join(program));
    let output = bench.stderr(Stdio::inherit()).output()?;
    let table = String::from_utf8(output.stdout)?;
    print!("{table}");
    // A page that shows what was missed is written as well, none that is incomplete.
    if table.is_empty() || output.status.code().is_none_or(|code| code > 1) {
        bail!("{program} could not measure: {}", output.status);
    }
    let page = workspace().join(format!("docs/{name}.md"));
    fs::write(&page, format!("{above}{table}{below}"))?;
    say(&format!("wrote {}", page.display()));
    if !output.status.success() {
        bail!("{program} missed a figure");
    }
    Ok(())
}
