//! `cargo xtask demo`: three tiny models, served from a folder at one address to play with.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use magi_tests::tiny_model;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cargo::{self, target};
use crate::llama_server;
use crate::narrate::say;

const MODELS: [&str; 3] = ["alpha", "beta", "gamma"];

/// The longest path that a Unix socket can have.
const LONGEST_SOCKET: usize = 107;

/// How long the servers get to be ready before the commands are shown anyway.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds magid, and runs it until Ctrl-C.
pub(crate) fn run() -> Result<()> {
    let llama_server = llama_server::find_or_build()?;
    cargo::build_programs(&[])?;
    let demo = Demo::prepare(&llama_server)?;
    // From here on a Ctrl-C is answered, never just obeyed.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD])?;
    let mut magid = demo.start()?;
    let shown = demo.show(&mut magid);
    if shown.is_err() {
        let _ = forward(&magid, Signal::SIGTERM);
    }
    let status = wait(&mut magid, &mut signals)?;
    shown?;
    if !status.success() {
        bail!(
            "magid ended with {status}; {} has its files",
            demo.dir.display()
        );
    }
    say("everything is stopped");
    Ok(())
}

/// The folder of a demo.
struct Demo {
    dir: PathBuf,
    /// Where the gateway listens.
    port: u16,
    /// Held while a demo uses the folder.
    _lock: File,
}

impl Demo {
    /// Makes the folder anew: models, profile and configuration.
    fn prepare(llama_server: &Path) -> Result<Self> {
        let mut dir = target().join("demo");
        if dir.join("run/magid.sock").as_os_str().len() > LONGEST_SOCKET {
            dir = env::temp_dir().join("magi-demo");
        }
        let lock = File::create(dir.with_extension("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another demo runs in {}: end it first", dir.display());
        }
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let port = free_port().context("cannot find a free port for the gateway")?;
        let demo = Self {
            dir,
            port,
            _lock: lock,
        };
        for folder in ["models", "profiles"] {
            fs::create_dir_all(demo.dir.join(folder))?;
        }
        for word in MODELS {
            tiny_model(&demo.dir.join(format!("models/{word}.gguf")), word)?;
        }
        fs::write(demo.dir.join("magid.toml"), demo.config(llama_server))?;
        fs::write(demo.profile(), profile())?;
        fs::write(
            demo.dir.join("gateway.toml"),
            format!("listen = [\"127.0.0.1:{}\"]\n", demo.port),
        )?;
        Ok(demo)
    }

    fn config(&self, llama_server: &Path) -> String {
        let text = |path: &Path| Value::from(path.display().to_string());
        format!(
            "active_profile = \"demo\"\nstate_dir = {}\nruntime_dir = {}\nlog_dir = {}\n\n\
             [models]\nscan_paths = [{}]\n\n[llama_server]\npath = {}\n",
            text(&self.dir.join("state")),
            text(&self.dir.join("run")),
            text(&self.dir.join("log")),
            text(&self.dir.join("models")),
            text(llama_server),
        )
    }

    fn profile(&self) -> PathBuf {
        self.dir.join("profiles/demo.toml")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("run/magid.sock")
    }

    fn start(&self) -> Result<Child> {
        say(&format!("starting magid in {}", self.dir.display()));
        Command::new(target().join("debug/magid"))
            .arg("--config")
            .arg(self.dir.join("magid.toml"))
            .arg("--gateway")
            // A group of its own: a Ctrl-C comes here, and is passed on once.
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run magid")
    }

    fn magictl(&self) -> PathBuf {
        target().join("debug/magictl")
    }

    /// Waits until the fleet is up, shows it, and what to do with it.
    fn show(&self, magid: &mut Child) -> Result<()> {
        self.wait_ready(magid)?;
        if magid.try_wait()?.is_some() {
            return Ok(());
        }
        eprintln!();
        Command::new(self.magictl())
            .arg("status")
            .env("MAGI_SOCKET", self.socket())
            .stdout(std::io::stderr())
            .status()?;
        eprintln!("\n{}", self.commands());
        Ok(())
    }

    /// Waits until every server is ready, and the gateway attached.
    fn wait_ready(&self, magid: &mut Child) -> Result<()> {
        let pause = Duration::from_millis(100);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            if magid.try_wait()?.is_some() {
                break;
            }
            if self.status().is_some_and(|status| is_up(&status)) {
                break;
            }
            std::thread::sleep(pause);
        }
        Ok(())
    }

    fn status(&self) -> Option<Value> {
        let output = Command::new(self.magictl())
            .args(["status", "-o", "json"])
            .env("MAGI_SOCKET", self.socket())
            .output()
            .ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    fn commands(&self) -> String {
        format!(
            "Try in a second terminal:

    export MAGI_SOCKET={socket} PATH={bin}:$PATH
    magictl status
    magictl run beta hi -n 8
    magictl stop gamma && magictl run gamma hi -n 8    # a request starts it
    magictl requests -f    # what came through the gateway, as the curl below does
    $EDITOR {profile}    # change the ctx_size of one
    magictl history && magictl diff && magictl rollback 1
    magictl models list
    magictl check
    kill -9 \"$(magictl status -o json | grep -om1 '\"pid\": *[0-9]*' | grep -o '[0-9]*')\"
    magictl events -f

Ctrl-C here stops everything. The API is at {url}/docs, and all models at one address:

    curl -s {url}/v1/chat/completions \\
        -d '{{\"model\": \"alpha\", \"messages\": [{{\"role\": \"user\", \"content\": \"hi\"}}], \"max_tokens\": 8}}'
",
            url = format_args!("http://127.0.0.1:{}", self.port),
            socket = self.socket().display(),
            bin = target().join("debug").display(),
            profile = self.profile().display(),
        )
    }
}

/// The first port from 8000 on that nobody listens on.
fn free_port() -> Option<u16> {
    (8000..8080).find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// Whether everything runs that will.
fn is_up(status: &Value) -> bool {
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    let servers = status["servers"].as_array().into_iter().flatten();
    let ready = servers.filter(|server| server["state"] == "ready").count();
    ready == MODELS.len() && count(&status["gateways"]) == 1
}

fn profile() -> String {
    let mut text = String::from(
        "# Edit and save: exactly the servers whose definition changed are replaced.\n\
         description = \"Three tiny models; each says its own name\"\n\n\
         [defaults]\nctx_size = 2048\n\
         # One thread each: three servers that spin for work would starve each other.\n\
         args = [\"-t\", \"1\", \"-tb\", \"1\"]\n",
    );
    for word in MODELS {
        text += &format!("\n[servers.{word}]\nmodel = \"{word}.gguf\"\nctx_size = 2048\n");
    }
    text
}

/// Waits for magid, passing signals on: the first asks it to end, a second hurries it.
fn wait(magid: &mut Child, signals: &mut Signals) -> Result<ExitStatus> {
    if let Some(status) = magid.try_wait()? {
        return Ok(status);
    }
    for signal in signals.forever() {
        if signal == SIGCHLD {
            if let Some(status) = magid.try_wait()? {
                return Ok(status);
            }
            continue;
        }
        say("stopping the fleet");
        forward(magid, Signal::try_from(signal)?)?;
    }
    bail!("cannot wait for signals")
}

fn forward(magid: &Child, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(magid.id())?), signal)?)
}
