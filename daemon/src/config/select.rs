//! `[[select]]`: servers for models that the registry has, without a line for each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::diagnostic::{Diagnostic, Origin, quote};
use super::glob::Glob;
use super::profile::{Profile, Replace, ServerConfig};
use super::read_profile::MAX_SERVERS;
use super::settings::Settings;
use super::traffic::Traffic;
use crate::gguf::{Kind, Tier};
use crate::lifecycle::RestartPolicy;
use crate::name::ServerName;

/// So many names does a warning tell; of further ones it tells how many they are.
const NAMES_TOLD: usize = 3;

/// One server for every model that matches, named after the model.
///
/// A filter that is empty matches every model.
#[derive(Clone, Debug)]
pub struct Select {
    /// Only models of one of these tiers.
    pub tiers: Vec<Tier>,
    /// Only models of one of these quantizations.
    pub quantizations: Vec<Glob>,
    /// Only models with one of these names.
    pub patterns: Vec<Glob>,
    /// Only models of one of these kinds.
    pub kinds: Vec<Kind>,
    /// At most so many, the smallest.
    pub limit: Option<NonZeroU32>,
    /// What the servers are like.
    pub template: Template,
    /// Where it is.
    pub at: Origin,
}

/// What a server is like, apart from its names, its model and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Whether it runs without being asked for.
    pub autostart: bool,
    /// Its place among those that want to start: higher ones come first.
    pub priority: i32,
    /// How it takes requests, and what becomes of it without any.
    pub traffic: Traffic,
    /// How a new incarnation takes the place of the old one.
    pub replace: Replace,
    /// The flags that have a key.
    pub settings: Settings,
    /// All other arguments, as they are.
    pub args: Vec<String>,
    /// Variables for the process.
    pub env: BTreeMap<String, String>,
    /// Another binary than magid.toml's.
    pub llama_server: Option<PathBuf>,
    /// How it is restarted.
    pub restart: RestartPolicy,
}

/// A model of the registry, as far as a `[[select]]` looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, which no other model has.
    pub id: String,
    /// Its tier.
    pub tier: Tier,
    /// Its quantization, as `Q4_K_M`.
    pub quantization: String,
    /// What it is for.
    pub kind: Kind,
    /// The bytes of its files.
    pub size_bytes: u64,
    /// The longest context it was trained for, in tokens.
    pub context_length: Option<u32>,
    /// Whether the user lets it be selected.
    pub enabled: bool,
    /// Whether its files are there. One whose files are not keeps its server: a disk that is not
    /// mounted stops nothing.
    pub available: bool,
}

impl PartialEq for Select {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            tiers,
            quantizations,
            patterns,
            kinds,
            limit,
            template,
            at: _,
        } = self;
        *tiers == other.tiers
            && *quantizations == other.quantizations
            && *patterns == other.patterns
            && *kinds == other.kinds
            && *limit == other.limit
            && *template == other.template
    }
}

impl Eq for Select {}

impl Template {
    /// The server `name` that serves `model`, without aliases and without a fixed port.
    pub(super) fn server(self, name: ServerName, model: String, at: Origin) -> ServerConfig {
        let Self {
            autostart,
            priority,
            traffic,
            replace,
            settings,
            args,
            env,
            llama_server,
            restart,
        } = self;
        ServerConfig {
            name,
            aliases: Vec::new(),
            model,
            autostart,
            priority,
            traffic,
            replace,
            port: None,
            settings,
            args,
            env,
            llama_server,
            restart,
            model_at: at.clone(),
            defined_at: at,
        }
    }
}

impl Profile {
    /// All servers: those that are written down, and those of `[[select]]` for these models; and what
    /// is probably not as it was meant.
    ///
    /// The order of the models means nothing. A written server keeps its names whatever models are
    /// called, of two selects that match a model the first has it, and no more than [`MAX_SERVERS`]
    /// servers come of it.
    pub fn expand(
        &self,
        candidates: &[Candidate],
    ) -> (BTreeMap<ServerName, ServerConfig>, Vec<Diagnostic>) {
        let mut sorted: Vec<_> = candidates.iter().filter(|model| model.enabled).collect();
        sorted.sort_by_key(|model| (model.size_bytes, &model.id));
        let mut written: BTreeMap<_, _> = self
            .servers
            .values()
            .flat_map(|server| {
                server
                    .aliases
                    .iter()
                    .map(move |alias| (alias.as_str(), server))
            })
            .collect();
        written.extend(
            self.servers
                .iter()
                .map(|(name, server)| (name.as_str(), server)),
        );
        let mut expansion = Expansion {
            written,
            candidates: sorted,
            servers: self.servers.clone(),
            taken: BTreeSet::new(),
            warnings: Vec::new(),
        };
        for select in &self.selects {
            expansion.add(select);
        }
        (expansion.servers, expansion.warnings)
    }
}

struct Expansion<'a> {
    /// The written servers, by name and by alias.
    written: BTreeMap<&'a str, &'a ServerConfig>,
    /// The models that may be selected, the smallest first.
    candidates: Vec<&'a Candidate>,
    servers: BTreeMap<ServerName, ServerConfig>,
    /// The models that have a server, or cannot have one.
    taken: BTreeSet<&'a str>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Expansion<'a> {
    fn add(&mut self, select: &Select) {
        let matching = self.candidates.iter().copied();
        let matching: Vec<_> = matching.filter(|model| select.matches(model)).collect();
        if matching.is_empty() {
            self.warn(
                select,
                "no enabled model matches this [[select]]",
                "change what it asks for; `magictl models list` shows what there is",
            );
            return;
        }
        if matching.iter().all(|model| self.taken.contains(&*model.id)) {
            self.warn(
                select,
                "every model that this [[select]] matches has a server of an earlier one",
                "put the one that matches fewer models first, or give the other a `limit`",
            );
            return;
        }
        let limit = select.limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit.get()).unwrap_or(usize::MAX)
        });
        let mut made: Vec<&str> = Vec::new();
        let mut away: Vec<&str> = Vec::new();
        let mut nameless: Vec<&str> = Vec::new();
        for (index, model) in matching.iter().copied().enumerate() {
            if made.len() >= limit {
                break;
            }
            if self.servers.len() >= MAX_SERVERS {
                self.warn_of_bound(select, matching.len() - index);
                break;
            }
            if !self.taken.insert(&model.id) {
                continue;
            }
            let Ok(name) = ServerName::new(&model.id) else {
                nameless.push(&model.id);
                continue;
            };
            if let Some(written) = self.written.get(name.as_str()).copied() {
                self.warn_of_clash(select, model, written);
                continue;
            }
            made.push(&model.id);
            if !model.available {
                away.push(&model.id);
            }
            self.servers
                .insert(name.clone(), select.server(name, model));
        }
        self.warn_of_names(
            select,
            &nameless,
            "no server can be named after",
            "write [servers.NAME] with this `model`",
        );
        self.warn_of_names(
            select,
            &away,
            "the files are not there now of",
            "`magictl models list` says why; servers that there are stay, others come when the files are back",
        );
    }

    fn warn(&mut self, select: &Select, message: impl Into<String>, help: impl Into<String>) {
        let warning = Diagnostic::warning(message, help).at(select.at.clone());
        self.warnings.push(warning);
    }

    fn warn_of_bound(&mut self, select: &Select, left: usize) {
        let message = format!(
            "{left} models that this [[select]] matches have no server: {MAX_SERVERS} are allowed"
        );
        self.warn(select, message, "write a `limit`, or match fewer models");
    }

    /// A written server that serves the model itself is what somebody wants: it says more than the
    /// select does.
    fn warn_of_clash(&mut self, select: &Select, model: &Candidate, written: &ServerConfig) {
        let stem = written.model.strip_suffix(".gguf");
        let same = [Some(written.model.as_str()), stem];
        if same.contains(&Some(model.id.as_str())) {
            return;
        }
        let message = format!(
            "the model {} has no server of this [[select]]: the name is taken by [servers.{}]",
            model.id, written.name
        );
        let help = format!("rename that server if it is not to serve {}", model.id);
        self.warn(select, message, help);
    }

    fn warn_of_names(&mut self, select: &Select, names: &[&str], what: &str, help: &str) {
        if names.is_empty() {
            return;
        }
        let told: Vec<_> = names
            .iter()
            .take(NAMES_TOLD)
            .map(|name| quote(name))
            .collect();
        let mut message = format!("{what} {}", told.join(", "));
        if names.len() > NAMES_TOLD {
            message.push_str(&format!(" and {} more", names.len() - NAMES_TOLD));
        }
        self.warn(select, message, help);
    }
}

impl Select {
    fn matches(&self, model: &Candidate) -> bool {
        let any = |globs: &[Glob], text: &str| {
            globs.is_empty() || globs.iter().any(|glob| glob.matches(text))
        };
        (self.tiers.is_empty() || self.tiers.contains(&model.tier))
            && (self.kinds.is_empty() || self.kinds.contains(&model.kind))
            && any(&self.quantizations, &model.quantization)
            && any(&self.patterns, &model.id)
    }

    fn server(&self, name: ServerName, model: &Candidate) -> ServerConfig {
        let mut template = self.template.clone();
        if let Some(trained) = model.context_length {
            template.settings.cap_context(trained);
        }
        template.server(name, model.id.clone(), self.at.clone())
    }
}
