//! gateway.toml, kept up to date while the gateway runs.
//!
//! What requests read is a value that is replaced as a whole ([`Current`]). A file that cannot be read or
//! has errors replaces nothing: the last good one holds until it is mended. What an edit may not do is
//! open what was listened at with keys: where the gateway listens is decided at its start, so keys that
//! are gone are looked at beside the addresses of then, and not those of the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use magid::config::{
    Diagnostic, Environment, GatewayConfig, Listen, LocationInput, Locations, MAX_FILE_SIZE,
    SourceFile, parse_gateway,
};
use magid::files::{Hints, ReadError, Watch, read_stable};
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::access::Access;

/// Editors write several times in a row.
const SETTLE: Duration = Duration::from_millis(100);

/// Not every change is told of: a symlink may point elsewhere.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What gateway.toml says, as requests need it.
#[derive(Debug)]
pub struct Settings {
    /// The configuration.
    pub config: GatewayConfig,
    /// Who may send which request.
    pub access: Access,
}

/// The settings that hold now.
pub type Current = Arc<ArcSwap<Settings>>;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    file: PathBuf,
    environment: Environment,
    locations: Locations,
    /// Where to listen whatever the file says; empty: where that says.
    listen: Vec<Listen>,
}

/// What was read, and what it was made of.
#[derive(Debug)]
struct Loaded {
    text: Option<String>,
    config: GatewayConfig,
    overridden: Vec<String>,
    warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The file is there and cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// Everything that is wrong, each with the line that it is on.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// It would take the keys from what other machines reach.
    #[error(
        "cannot listen on {0} without keys: run `magictl keys create NAME --scope inference`, or write \
         `allow_open = true`, or start the gateway to listen elsewhere"
    )]
    WouldOpen(Listen),
}

impl Settings {
    /// The settings for this configuration.
    pub fn new(config: GatewayConfig) -> Self {
        Self {
            access: Access::new(&config),
            config,
        }
    }
}

impl Source {
    /// The file that `--config` names, else the one beside magid.toml.
    pub fn find(explicit: Option<&Path>, environment: Environment) -> Self {
        let current_dir = std::env::current_dir().unwrap_or_default();
        let locations = Locations::find(&LocationInput {
            env: &environment,
            explicit_config: None,
            is_root: rustix::process::geteuid().is_root(),
            current_dir: &current_dir,
        });
        let file = match explicit {
            Some(file) => current_dir.join(file),
            None => locations.gateway_file(),
        };
        Self {
            file,
            environment,
            locations,
            listen: Vec::new(),
        }
    }

    /// The same, to listen there whatever the file says, unless `listen` is empty.
    pub fn listening_on(self, listen: Vec<Listen>) -> Self {
        Self { listen, ..self }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads it for the first time. A file that is not there is the defaults. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be read, or something in it or in a variable is wrong.
    pub fn load(&self) -> Result<Settings, ConfigurationError> {
        let loaded = self.read()?;
        for key in &loaded.overridden {
            tracing::info!("{key} wins over {}", self.file.display());
        }
        loaded.warn();
        Ok(Settings::new(loaded.config))
    }

    fn read(&self) -> Result<Loaded, ConfigurationError> {
        let file = match read_stable(&self.file, MAX_FILE_SIZE as u64) {
            Ok(text) => Some(SourceFile {
                path: self.file.clone(),
                text,
            }),
            Err(ReadError::Missing(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let render = |all: &[Diagnostic]| -> Vec<String> {
            let rendered = all
                .iter()
                .map(|diagnostic| diagnostic.render(file.as_ref()));
            rendered.collect()
        };
        let parsed = parse_gateway(file.as_ref(), &self.environment, &self.locations)
            .map_err(|errors| ConfigurationError::Invalid(render(&errors)))?;
        let mut config = parsed.gateway;
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        let mut listen = config.listen.iter();
        if let Some(listen) = listen.find(|listen| config.is_open(listen)) {
            return Err(ConfigurationError::WouldOpen(listen.clone()));
        }
        Ok(Loaded {
            config,
            overridden: parsed.overridden,
            warnings: render(&parsed.warnings),
            text: file.map(|file| file.text),
        })
    }

    /// Keeps `current` up to date for as long as it is polled, and says so each time. `current` holds what
    /// [`Self::load`] answered.
    pub async fn follow(self, current: Current, hints: Hints, applied: impl Fn(&GatewayConfig)) {
        let folder = self.file.parent().unwrap_or(Path::new("/")).to_path_buf();
        let mut follower = Follower {
            listening: current.load().config.listen.clone(),
            current,
            source: Arc::new(self),
            last: None,
        };
        loop {
            // Made before the look, so that nothing is missed in between.
            let mut watch = hints.watch(&folder);
            follower.look().await;
            applied(&follower.current.load().config);
            wait(&mut watch).await;
        }
    }
}

async fn wait(watch: &mut Watch) {
    // Late or not, it is time to look again.
    if timeout(LOOK_AGAIN, watch.changed()).await.is_ok() {
        sleep(SETTLE).await;
    }
}

impl Loaded {
    fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// Looks at the file again and again.
struct Follower {
    source: Arc<Source>,
    current: Current,
    /// Where the gateway listens, whatever the file says now.
    listening: Vec<Listen>,
    /// What the last look came to: a text that was taken, or what is wrong.
    last: Option<Result<Option<String>, String>>,
}

impl Follower {
    async fn look(&mut self) {
        let source = self.source.clone();
        // It may be on a file system that hangs.
        #[expect(clippy::disallowed_methods, reason = "there is one at a time")]
        let read = tokio::task::spawn_blocking(move || source.read());
        let Ok(read) = read.await else {
            return;
        };
        let seen = read.and_then(|loaded| self.take(loaded));
        let seen = seen.map_err(|error| error.to_string());
        if self.last.as_ref() == Some(&seen) {
            return;
        }
        match &seen {
            Ok(_) if self.last.is_some() => {
                tracing::info!(file = %self.source.file.display(), "the configuration is applied");
            }
            Ok(_) => {}
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        }
        self.last = Some(seen);
    }

    /// Puts what was read in force. Answers its text.
    fn take(&self, loaded: Loaded) -> Result<Option<String>, ConfigurationError> {
        let mut open = self.listening.iter();
        if let Some(listen) = open.find(|listen| loaded.config.is_open(listen)) {
            return Err(ConfigurationError::WouldOpen(listen.clone()));
        }
        let held = self.current.load();
        if held.config != loaded.config {
            if held.config.listen != loaded.config.listen {
                tracing::warn!("`listen` has changed: it takes a restart of the gateway");
            }
            loaded.warn();
            self.current.store(Arc::new(Settings::new(loaded.config)));
        }
        Ok(loaded.text)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const KEY: &str = "\
[[keys]]
name = \"a\"
hash = \"sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\"
scopes = [\"inference\"]
";

    struct Followed {
        _folder: TempDir,
        file: PathBuf,
        current: Current,
        follower: Follower,
    }

    fn follow(text: &str) -> Followed {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, text).unwrap();
        let source = Source::find(Some(&file), Environment::default());
        let current: Current = Arc::new(ArcSwap::from_pointee(source.load().unwrap()));
        let follower = Follower {
            listening: current.load().config.listen.clone(),
            current: current.clone(),
            source: Arc::new(source),
            last: None,
        };
        Followed {
            _folder: folder,
            file,
            current,
            follower,
        }
    }

    impl Followed {
        /// What is wrong after this edit.
        async fn edit(&mut self, text: &str) -> Option<String> {
            fs::write(&self.file, text).unwrap();
            self.follower.look().await;
            self.follower.last.clone().unwrap().err()
        }
    }

    #[tokio::test]
    async fn an_edit_is_applied_and_a_bad_one_leaves_the_last_good() {
        let mut followed = follow("default = \"a\"\n");
        assert_eq!(followed.edit("default = \"b\"\n").await, None);
        assert_eq!(followed.current.load().config.default, "b");
        let error = followed.edit("default = 3\n").await.unwrap();
        assert!(error.contains("gateway.toml:1:11"), "{error}");
        assert_eq!(followed.current.load().config.default, "b");
        assert_eq!(followed.edit("default = \"c\"\n").await, None);
        assert_eq!(followed.current.load().config.default, "c");
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_the_defaults() {
        let mut followed = follow("default = \"a\"\n");
        fs::remove_file(&followed.file).unwrap();
        followed.follower.look().await;
        assert_eq!(followed.current.load().config, GatewayConfig::default());
    }

    #[tokio::test]
    async fn what_is_listened_at_with_keys_is_never_without() {
        let mut followed = follow(&format!("listen = [\"0.0.0.0:1\"]\n{KEY}"));
        let error = followed.edit("default = \"a\"\n").await.unwrap();
        assert!(error.contains("cannot listen on 0.0.0.0:1 without keys"));
        assert_eq!(followed.current.load().config.keys.len(), 1);
        let other = format!("default = \"a\"\n{KEY}");
        assert_eq!(followed.edit(&other).await, None);
        assert_eq!(followed.current.load().config.default, "a");
    }

    #[tokio::test]
    async fn an_edit_is_noticed() {
        let followed = follow("default = \"a\"\n");
        let source = Source::find(Some(&followed.file), Environment::default());
        let following = source.follow(followed.current.clone(), Hints::start(), |_| {});
        let noticed = async {
            fs::write(&followed.file, "default = \"b\"\n").unwrap();
            while followed.current.load().config.default != "b" {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = following => unreachable!("it follows for ever"),
            () = noticed => {}
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::find(Some(folder.path()), Environment::default());
        assert!(matches!(
            source.load(),
            Err(ConfigurationError::Unreadable(_))
        ));
    }
}
