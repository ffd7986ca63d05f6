//! A server of a profile, as a test writes it down.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::places::faulty_llama_server;

/// A table `[servers.NAME]`. Its model is a tiny one that says the server's name.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) name: String,
    program: PathBuf,
    args: Vec<String>,
    keys: Vec<(String, Value)>,
}

impl Server {
    /// A server of the real llama-server at `program`.
    pub fn real(name: &str, program: &std::path::Path) -> Self {
        // Several real ones on few cores: threads that spin for work would starve each other.
        let args = ["-t", "1", "-tb", "1"];
        Self {
            name: name.into(),
            program: program.into(),
            args: args.map(String::from).into(),
            keys: Vec::new(),
        }
    }

    /// A server of the faulty llama-server, without a fault yet.
    pub fn faulty(name: &str) -> Self {
        Self {
            name: name.into(),
            program: faulty_llama_server(),
            args: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a fault of the faulty llama-server: a field of [`crate::faulty::Faults`].
    pub fn fault(self, fault: &str) -> Self {
        self.arg("--fault").arg(fault)
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a key, in place of what it was. The value is written as TOML.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.retain(|(name, _)| name != key);
        self.keys.push((key.into(), value.into()));
        self
    }

    /// The table. A JSON string, number, boolean or array of them is also TOML.
    pub(super) fn to_toml(&self) -> String {
        let mut text = format!("[servers.{}]\n", Value::from(self.name.as_str()));
        let mut line = |key: &str, value: &Value| {
            writeln!(text, "{key} = {value}").expect("a string takes every text");
        };
        let given = |key: &str| self.keys.iter().any(|(name, _)| name == key);
        if !given("model") {
            line("model", &format!("{}.gguf", self.name).into());
        }
        if !given("llama_server") {
            line("llama_server", &self.program.display().to_string().into());
        }
        if !self.args.is_empty() {
            line("args", &self.args.clone().into());
        }
        for (key, value) in &self.keys {
            line(key, value);
        }
        text
    }
}
