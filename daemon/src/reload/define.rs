//! From what a profile says and the models that there are to what each server is started with.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lookup;
use super::read::{Inputs, Read};
use crate::config::{Candidate, DaemonConfig, Diagnostic, Profile, ServerConfig, Settings};
use crate::gguf::Kind;
use crate::lifecycle::Policy;
use crate::plan::{Definition, Identity, Launch, Model};
use crate::registry::{self, Availability, Found, Snapshot};

/// Defines every server of a profile.
pub(super) fn define(profile: &Profile, daemon: &DaemonConfig, inputs: &Inputs, read: &mut Read) {
    let (servers, warnings) = profile.expand(&candidates(&inputs.models));
    read.warn(&warnings);
    let search_path = inputs.environment.get("PATH");
    let folder = profile.path.parent().unwrap_or(Path::new("/"));
    for (name, server) in servers {
        let engine = server.llama_server.as_ref();
        let engine = engine.unwrap_or(&daemon.llama_server.path);
        let engine = lookup::program(engine, search_path);
        let (model, kind, mmproj) = model(&server.model, folder, &inputs.models);
        if model.file.is_err() && server.model.contains('/') {
            let parent = folder.join(&server.model).parent().map(Path::to_path_buf);
            read.awaited.extend(parent);
        }
        read.models_at.insert(name.clone(), server.model_at.clone());
        if !profile.servers.contains_key(&name) {
            read.selected.insert(name.clone());
        }
        let mmproj = mmproj.as_ref().and_then(|path| path.to_str());
        let settings = match kind {
            Some(kind) => server.settings_for(kind, mmproj),
            None => server.settings.clone(),
        };
        let definition = definition(&server, &settings, daemon, engine, model);
        read.definitions.insert(name, definition);
    }
    let launches = read.definitions.iter();
    read.content.found = launches
        .map(|(name, definition)| (name.clone(), definition.launch.clone()))
        .collect();
}

/// The models of the registry, as a `[[select]]` looks at them.
pub(super) fn candidates(models: &Snapshot) -> Vec<Candidate> {
    let candidate = |model: &Arc<registry::Model>| Candidate {
        id: model.id.to_string(),
        tier: model.tier(),
        quantization: model.facts.quantization.value.clone(),
        kind: model.facts.kind.value,
        size_bytes: model.size_bytes,
        context_length: model.facts.context_length,
        enabled: model.enabled(),
        available: model.is_available(),
    };
    models.models.values().map(candidate).collect()
}

/// The model that is meant by `written` in a file in `folder`, what it is for, and its projector.
fn model(
    written: &str,
    folder: &Path,
    models: &Snapshot,
) -> (Model, Option<Kind>, Option<PathBuf>) {
    match models.find(written, folder) {
        Ok(Found::Model(model)) => {
            let kind = model.facts.kind.value;
            (known(written, &model), Some(kind), model.mmproj.clone())
        }
        Ok(Found::Path(path)) => {
            let model = by_path(written, path);
            let kind = model.facts.as_ref().map(|facts| facts.kind.value);
            (model, kind, None)
        }
        Err(error) => (Model::missing(written, error.to_string()), None, None),
    }
}

fn known(written: &str, model: &registry::Model) -> Model {
    let identity = identity(&model.path);
    let file = match &model.availability {
        Availability::Available => Ok(model.path.clone()),
        // A registry that is not up to date is no reason to refuse a file that is there.
        Availability::Unavailable(_) if identity.is_some() => Ok(model.path.clone()),
        Availability::Unavailable(why) => Err(why.clone()),
    };
    Model {
        written: written.to_owned(),
        id: Some(model.id.to_string()),
        file,
        shards: model.files.iter().skip(1).cloned().collect(),
        identity,
        facts: Some(model.facts.clone()),
    }
}

fn by_path(written: &str, path: PathBuf) -> Model {
    let file = match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(path.clone()),
        Ok(_) => Err(format!("{} is not a file", path.display())),
        Err(error) => Err(format!("cannot open {}: {error}", path.display())),
    };
    let facts = file.as_ref().ok();
    let facts = facts.and_then(|path| registry::facts_of(path).ok());
    Model {
        identity: identity(&path),
        facts,
        file,
        ..Model::missing(written, "")
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Identity {
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
    })
}

fn definition(
    server: &ServerConfig,
    settings: &Settings,
    daemon: &DaemonConfig,
    engine: PathBuf,
    model: Model,
) -> Definition {
    let mut arguments = settings.argv();
    arguments.extend(server.args.iter().cloned());
    Definition {
        name: server.name.clone(),
        aliases: server.aliases.clone(),
        autostart: server.autostart,
        need: None,
        priority: server.priority,
        traffic: server.traffic.clone(),
        replace: server.replace,
        launch: Launch {
            engine,
            model,
            host: daemon.llama_server.host,
            port: server.port,
            settings: settings
                .entries()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            arguments,
            env: server.env.clone(),
            api_key: daemon.llama_server.api_key,
        },
        policy: Policy {
            restart: server.restart.clone(),
            max_startup_time: daemon.llama_server.max_startup_time,
            drain_timeout: daemon.llama_server.drain_timeout,
            stop_timeout: daemon.llama_server.stop_timeout,
        },
        defined_at: format!(
            "{}:{}",
            server.defined_at.file.display(),
            server.defined_at.line
        ),
    }
}

/// So many problems of the registry are told with a reload; `magictl models list` tells all.
const PROBLEMS_TOLD: usize = 5;

/// What is wrong with the scan paths and the files in them.
pub(super) fn problems(models: &Snapshot) -> Vec<Diagnostic> {
    let problems = models.problems.iter().take(PROBLEMS_TOLD);
    let help = "`magictl models list` tells all that is known";
    problems
        .map(|problem| Diagnostic::warning(problem.clone(), help))
        .collect()
}
