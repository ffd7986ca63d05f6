//! The installed magi: its files, and what it says of itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Container, PACKAGE_INSIDE};
use crate::model::tiny_model;

/// The models in `/models`; each says its own name.
pub const MODELS: [&str; 3] = ["alpha", "beta", "gamma"];

/// The profile of the tests.
pub const PROFILE: &str = "/etc/magi/profiles/development.toml";

/// One thread each: servers that spin for work would starve each other.
const DEFAULTS: &str = "[defaults]\nctx_size = 2048\nargs = [\"-t\", \"1\", \"-tb\", \"1\"]\n";

impl Container {
    /// Boots one, installs the package, and adds models and a profile that serves `alpha` and `beta`.
    /// Nothing is started.
    pub fn installed() -> Self {
        let container = Self::boot();
        container.install(PACKAGE_INSIDE);
        let models = tempfile::tempdir().expect("the folder for temporary files is writable");
        for word in MODELS {
            let path = models.path().join(format!("{word}.gguf"));
            tiny_model(&path, word).expect("a new folder takes files");
        }
        // The copy has them too.
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(models.path(), readable).expect("the folder is ours");
        container.copy(models.path(), "/models");
        container.serve(&["alpha", "beta"], "");
        container
    }

    /// As [`Container::installed`], with magid started and both servers ready.
    pub fn serving() -> Self {
        let container = Self::installed();
        container.run("systemctl start magid");
        container.wait_ready(2);
        container
    }

    /// Installs a package by apt, and gives what apt says.
    #[track_caller]
    pub fn install(&self, package: &str) -> String {
        let apt = "DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades";
        let ran = self.try_run(&format!("{apt} {package}")).expect_code(0);
        ran.all()
    }

    /// Writes the profile: a server for each of these models, and more lines for the last one.
    #[track_caller]
    pub fn serve(&self, models: &[&str], more: &str) {
        let mut text = DEFAULTS.to_owned();
        for model in models {
            text += &format!("\n[servers.{model}]\nmodel = \"{model}\"\n");
        }
        self.write(PROFILE, &(text + more));
    }

    /// What `magictl status` says.
    ///
    /// # Panics
    ///
    /// If magid does not answer.
    #[track_caller]
    pub fn status(&self) -> Value {
        let ran = self.try_run("magictl status -o json").expect_code(0);
        ran.json()
    }

    /// A server, as `magictl status` shows it. Null if there is none.
    #[track_caller]
    pub fn server(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["servers"].as_array().into_iter().flatten();
        let mut named = servers.filter(|server| server["name"] == name);
        named.next().cloned().unwrap_or_default()
    }

    /// The process of a server that has one.
    #[track_caller]
    pub fn pid(&self, name: &str) -> u64 {
        let server = self.server(name);
        server["pid"]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} has no process: {server:#}"))
    }

    /// Waits until magid answers, and all of its `count` servers are ready.
    #[track_caller]
    pub fn wait_ready(&self, count: usize) {
        self.wait(&format!("{count} servers are ready"), |container| {
            let ran = container.try_run("magictl status -o json");
            let Ok(status) = serde_json::from_str::<Value>(&ran.stdout) else {
                return false;
            };
            status["servers"].as_array().is_some_and(|servers| {
                servers.len() == count && servers.iter().all(|server| server["state"] == "ready")
            })
        });
    }

    /// A property of a unit, as `systemctl show` has it.
    #[track_caller]
    pub fn unit(&self, unit: &str, property: &str) -> String {
        let value = self.run(&format!(
            "systemctl show --value --property={property} {unit}"
        ));
        value.trim_end().to_owned()
    }

    /// The entries of the journal that match, oldest first.
    #[track_caller]
    pub fn journal(&self, matches: &str) -> Vec<Value> {
        let text = self.run(&format!(
            "journalctl --no-pager --all --output=json {matches}"
        ));
        let entries = text.lines().map(serde_json::from_str);
        entries
            .collect::<Result<_, _>>()
            .expect("journalctl writes JSON")
    }

    /// Asks a model through the gateway, and gives what it answers.
    #[track_caller]
    pub fn ask(&self, model: &str) -> String {
        let ask = format!(
            "curl --silent --show-error --fail-with-body http://127.0.0.1:8000/v1/chat/completions \
             --json '{{\"model\": \"{model}\", \"max_tokens\": 4, \
             \"messages\": [{{\"role\": \"user\", \"content\": \"hi\"}}]}}'"
        );
        let answer = self.try_run(&ask).expect_code(0).json();
        let content = &answer["choices"][0]["message"]["content"];
        content
            .as_str()
            .unwrap_or_else(|| panic!("this is no answer: {answer:#}"))
            .to_owned()
    }

    /// Asks something of the gateway, and gives the status and the body.
    #[track_caller]
    pub fn http(&self, method: &str, path: &str) -> (String, String) {
        let body = "/tmp/answer";
        let status = self.run(&format!(
            "curl --silent --show-error --request {method} --output {body} \
             --write-out '%{{http_code}}' http://127.0.0.1:8000{path}"
        ));
        (status, self.run(&format!("cat {body}")))
    }
}
