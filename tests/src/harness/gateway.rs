//! A gateway beside a fleet.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use magi_proto::v1::GetStatusRequest;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, LOOK};
use super::http::{Call, DEADLINE};
use super::places::program;
use super::processes::send;

/// A magi-gateway. Dropped, it is killed.
pub struct Gateway {
    port: u16,
    config: BTreeMap<String, Value>,
    config_path: PathBuf,
    socket: PathBuf,
    output: PathBuf,
    env: BTreeMap<String, String>,
    child: Option<Child>,
}

impl Gateway {
    /// A gateway for a fleet, on the port that the fleet has for this index, not started yet.
    ///
    /// # Panics
    ///
    /// Like every method here, if the machine refuses what a test needs.
    pub fn new(fleet: &Fleet, index: u16) -> Self {
        let port = fleet.port(index);
        let mut gateway = Self {
            port,
            config: BTreeMap::new(),
            config_path: fleet.path(&format!("gateway-{index}.toml")),
            socket: fleet.socket(),
            output: fleet.path(&format!("gateway-{index}.out")),
            env: BTreeMap::new(),
            child: None,
        };
        let mark = fleet.mark_beside();
        if let Some((name, value)) = mark.split_once('=') {
            gateway.env(name, value);
        }
        gateway.set("listen", json!([format!("127.0.0.1:{port}")]));
        gateway
    }

    /// A gateway for a fleet that runs, attached to it.
    pub async fn start(fleet: &Fleet) -> Self {
        let mut gateway = Self::new(fleet, 0);
        gateway.spawn();
        gateway.attached(fleet).await;
        gateway
    }

    /// Sets a key of gateway.toml, and saves the file.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.config.insert(key.into(), value.into());
        let lines = self.config.iter();
        let text: String = lines
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        fs::write(&self.config_path, text).expect("the directory is writable");
    }

    /// Sets a variable of its environment, for its next start.
    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.into(), value.into());
    }

    /// Has it talk to magid over this socket, from its next start on.
    pub fn connect_to(&mut self, socket: PathBuf) {
        self.socket = socket;
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        let child = self.child.as_ref().expect("it was started");
        child.id().expect("it was not waited for yet")
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it was started already");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.output)
            .expect("the directory is writable");
        let mut command = Command::new(program("magi-gateway"));
        command
            .arg("--config")
            .arg(&self.config_path)
            .arg("--socket")
            .arg(&self.socket)
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor can be copied"))
            .stderr(output)
            .kill_on_drop(true);
        self.child = Some(command.spawn().expect("magi-gateway can be run"));
    }

    /// Waits until it takes connections.
    pub async fn listening(&mut self) {
        let look = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                let child = self.child.as_mut().expect("it was started");
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(status);
                }
                sleep(LOOK).await;
            }
            Ok(())
        };
        match timeout(DEADLINE, look).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => panic!("the gateway ended with {status}: {}", self.output()),
            Err(_) => panic!("the gateway does not listen: {}", self.output()),
        }
    }

    /// Waits until it takes connections, magid knows it, and it knows where servers are.
    pub async fn attached(&mut self, fleet: &Fleet) {
        self.listening().await;
        let pid = self.pid();
        let look = async {
            loop {
                let status = fleet.daemon().get_status(GetStatusRequest {}).await;
                let gateways = status.map_or_else(|_| Vec::new(), |s| s.into_inner().gateways);
                let is_known = gateways.iter().any(|gateway| gateway.pid == pid);
                if is_known && !self.is_without_magid().await {
                    return;
                }
                sleep(LOOK).await;
            }
        };
        let looked = timeout(DEADLINE, look).await;
        if looked.is_err() {
            panic!("the gateway does not attach: {}", self.output());
        }
    }

    /// Whether it says so of itself.
    async fn is_without_magid(&self) -> bool {
        let question = Call::post("/v1/completions", &json!({ "model": "" }));
        let answer = question.answer(&self.url()).await;
        answer.map_or(true, |answer| answer.text.contains("magid-away"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it was started");
        let Ok(status) = timeout(DEADLINE, child.wait()).await else {
            panic!("the gateway does not end: {}", self.output());
        };
        self.child = None;
        status.expect("a child can be waited for")
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the gateway's output ---\n{}",
                super::report::tail(&self.output())
            );
        }
    }
}
