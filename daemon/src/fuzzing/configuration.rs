//! Configuration files: a value that can be used, or diagnostics that can be followed.

use std::path::Path;

use crate::config::{
    self, Candidate, DaemonConfig, Diagnostic, Environment, LocationInput, Locations, Profile,
    ServerConfig, SourceFile,
};
use crate::gguf::{Kind, Tier};

/// More than any sentence of ours about a file needs, in bytes.
const LONGEST_SENTENCE: usize = 2_000;

/// More than any diagnostic with its source lines needs, in bytes.
const LONGEST_RENDERED: usize = 10_000;

/// More diagnostics than this would help nobody.
const MOST_DIAGNOSTICS: usize = 100;

/// magid.toml.
///
/// # Panics
///
/// If a promise is broken.
pub fn magid_toml(data: &[u8]) {
    let Some(file) = source("/etc/magi/magid.toml", data) else {
        return;
    };
    match daemon(&file) {
        Ok(daemon) => {
            assert_usable(&daemon);
            assert_eq!(Ok(daemon), self::daemon(&commented(&file)));
        }
        Err(errors) => assert_can_be_followed(&errors, &file),
    }
}

/// A profile.
///
/// # Panics
///
/// If a promise is broken.
pub fn profile(data: &[u8]) {
    let Some(file) = source("/etc/magi/profiles/x.toml", data) else {
        return;
    };
    let nothing = SourceFile {
        path: "/etc/magi/magid.toml".into(),
        text: String::new(),
    };
    let daemon = daemon(&nothing).expect("the defaults are valid");
    match config::parse_profile("x", &file, &daemon) {
        Ok(parsed) => {
            let servers = &parsed.profile.servers;
            assert!(servers.len() <= config::MAX_SERVERS);
            for (name, server) in servers {
                assert_eq!(*name, server.name);
                assert_can_be_run(server);
            }
            assert_expands(&parsed.profile);
            let again = config::parse_profile("x", &commented(&file), &daemon);
            assert_eq!(Ok(parsed), again);
        }
        Err(errors) => assert_can_be_followed(&errors, &file),
    }
}

fn source(path: &str, data: &[u8]) -> Option<SourceFile> {
    match SourceFile::from_bytes(path.into(), data.to_vec()) {
        Ok(file) => {
            assert_eq!(file.text.as_bytes(), data);
            Some(file)
        }
        Err(error) => {
            let end = std::str::from_utf8(data).map_or_else(|e| e.valid_up_to(), str::len);
            let text = String::from_utf8_lossy(&data[..end]).into_owned();
            let path = path.into();
            assert_can_be_followed(&[error], &SourceFile { path, text });
            None
        }
    }
}

/// The same file with a comment more, which means the same.
fn commented(file: &SourceFile) -> SourceFile {
    SourceFile {
        path: file.path.clone(),
        text: format!("{}\n# a comment\n", file.text),
    }
}

fn daemon(file: &SourceFile) -> Result<DaemonConfig, Vec<Diagnostic>> {
    let env = Environment::default();
    let locations = Locations::find(&LocationInput {
        env: &env,
        explicit_config: None,
        is_root: true,
        current_dir: Path::new("/"),
    });
    config::parse_daemon(Some(file), &env, &locations).map(|parsed| parsed.daemon)
}

fn assert_usable(daemon: &DaemonConfig) {
    let folders = [
        &daemon.state_dir,
        &daemon.runtime_dir,
        &daemon.log_dir,
        &daemon.profiles_dir,
    ];
    let scanned = daemon.scan_paths.iter().map(|scan| &scan.path);
    for path in folders.into_iter().chain(scanned) {
        assert!(path.is_absolute() && no_nul(&path.to_string_lossy()));
    }
    let ports = &daemon.llama_server.port_range;
    assert!(*ports.start() > 0 && !ports.is_empty());
    assert!(daemon.restart.initial_delay <= daemon.restart.max_delay);
    assert!(daemon.restart.max_failures > 0 && daemon.liveness.failures > 0);
    assert!(daemon.logs.max_size > 0 && daemon.logs.keep > 0);
    assert!(daemon.registry.is_absolute() && daemon.tiers.fast <= daemon.tiers.balanced);
}

/// Whatever it selects, the servers can be run, the written ones stay, and there is a bound.
fn assert_expands(profile: &Profile) {
    let tiers = [Tier::Fast, Tier::Balanced, Tier::Powerful];
    let models: Vec<_> = (0..20)
        .map(|number| Candidate {
            id: format!("qwen-{number}"),
            tier: tiers[number % 3],
            quantization: "Q4_K_M".into(),
            kind: Kind::Chat,
            size_bytes: number as u64 % 7,
            context_length: Some(2048),
            enabled: number % 5 > 0,
            available: true,
        })
        .collect();
    let (servers, warnings) = profile.expand(&models);
    assert!(servers.len() <= config::MAX_SERVERS.max(profile.servers.len()));
    assert!(
        profile
            .servers
            .iter()
            .all(|(name, server)| servers[name] == *server)
    );
    servers.values().for_each(assert_can_be_run);
    assert!(warnings.iter().all(|warning| warning.origin.is_some()));
}

/// What the system refuses of a command line or an environment is refused when it is read.
fn assert_can_be_run(server: &ServerConfig) {
    assert!(!server.model.is_empty() && no_nul(&server.model));
    assert!(server.port != Some(0));
    assert!(server.restart.initial_delay <= server.restart.max_delay);
    assert!(
        server
            .settings
            .argv()
            .iter()
            .chain(&server.args)
            .all(|arg| no_nul(arg))
    );
    for (variable, value) in &server.env {
        assert!(!variable.is_empty() && !variable.contains('='));
        assert!(no_nul(variable) && no_nul(value));
    }
}

fn no_nul(text: &str) -> bool {
    !text.contains('\0')
}

/// Each has a place in the file and can be shown with it; together they are no flood.
fn assert_can_be_followed(errors: &[Diagnostic], file: &SourceFile) {
    assert!((1..=MOST_DIAGNOSTICS).contains(&errors.len()));
    let lines: Vec<_> = file.text.split('\n').collect();
    for error in errors {
        let origin = error.origin.as_ref().expect("it is in the file");
        let line = lines.get(origin.line - 1).expect("the line exists");
        let columns = 1..=line.chars().count() + 1;
        assert!(columns.contains(&origin.column), "{error}");
        assert!(!error.message.is_empty() && !error.help.is_empty());
        let sentence = error.to_string();
        assert!(sentence.len() <= LONGEST_SENTENCE, "{sentence}");
        assert!(!sentence.contains(char::is_control), "{sentence:?}");
        let rendered = error.render(Some(file));
        assert!(rendered.starts_with("error: "), "{rendered}");
        assert!(rendered.len() <= LONGEST_RENDERED, "{rendered}");
    }
}
