//! What a profile says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::diagnostic::{Diagnostic, Origin};
use super::select::Select;
use super::settings::Settings;
use super::traffic::Traffic;
use crate::gguf::Kind;
use crate::lifecycle::RestartPolicy;
use crate::name::{Alias, ServerName};

/// A set of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The stem of the file's name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// The servers that are written down.
    pub servers: BTreeMap<ServerName, ServerConfig>,
    /// Which models have servers too, in the order of the file: the first that matches a model has it.
    pub selects: Vec<Select>,
}

/// One server, as its profile and magid.toml define it.
///
/// Two are equal if they mean the same, wherever they are written.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its name.
    pub name: ServerName,
    /// Its other names, in the order of the file.
    pub aliases: Vec<Alias>,
    /// What the profile calls the model: its name in the registry, the name of a file under a scan
    /// path, or a path.
    pub model: String,
    /// Whether it runs without being asked for.
    pub autostart: bool,
    /// Its place among those that want to start: higher ones come first.
    pub priority: i32,
    /// How it takes requests, and what becomes of it without any.
    pub traffic: Traffic,
    /// How a new incarnation takes the place of the old one.
    pub replace: Replace,
    /// Its port, if it is always the same.
    pub port: Option<u16>,
    /// The flags that have a key.
    pub settings: Settings,
    /// All other arguments, as they are.
    pub args: Vec<String>,
    /// Variables for the process.
    pub env: BTreeMap<String, String>,
    /// Another binary than magid.toml's. A name without `/` is to be looked up in `PATH`.
    pub llama_server: Option<PathBuf>,
    /// How it is restarted.
    pub restart: RestartPolicy,
    /// Where its name is.
    pub defined_at: Origin,
    /// Where its model is.
    pub model_at: Origin,
}

/// How a new incarnation takes the place of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replace {
    /// [`Replace::BlueGreen`] if the port is not fixed and there is memory for both, else
    /// [`Replace::DrainRestart`].
    #[default]
    Auto,
    /// The new one gets ready on another port, then the old one is drained and stopped.
    BlueGreen,
    /// The old one is drained and stopped, then the new one is started.
    DrainRestart,
}

impl std::fmt::Display for Replace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::BlueGreen => "blue-green",
            Self::DrainRestart => "drain-restart",
        })
    }
}

/// What [`parse_profile`](super::parse_profile) made out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedProfile {
    /// The profile.
    pub profile: Profile,
    /// What is probably not as it was meant.
    pub warnings: Vec<Diagnostic>,
}

impl ServerConfig {
    /// Its settings for a model of this kind with this projector: `embeddings`, `reranking` and
    /// `mmproj` follow from the model unless the profile says otherwise.
    pub fn settings_for(&self, kind: Kind, mmproj: Option<&str>) -> Settings {
        self.settings.following(kind, mmproj, &self.args)
    }
}

impl PartialEq for ServerConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            aliases,
            model,
            autostart,
            priority,
            traffic,
            replace,
            port,
            settings,
            args,
            env,
            llama_server,
            restart,
            defined_at: _,
            model_at: _,
        } = self;
        *name == other.name
            && *aliases == other.aliases
            && *model == other.model
            && *autostart == other.autostart
            && *priority == other.priority
            && *traffic == other.traffic
            && *replace == other.replace
            && *port == other.port
            && *settings == other.settings
            && *args == other.args
            && *env == other.env
            && *llama_server == other.llama_server
            && *restart == other.restart
    }
}

impl Eq for ServerConfig {}
