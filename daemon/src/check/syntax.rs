//! The files: each can be read, and what they say of each other holds.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::finding::{Check, Finding, Level, Place};
use super::words::{count, names};
use crate::config::{self, ChosenBy, DaemonConfig, Diagnostic, SourceFile};
use crate::reload::Told;
use crate::reload::read::source;

/// Profiles that are looked at.
const MOST_PROFILES: usize = 200;

/// A file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
enum File {
    Daemon(PathBuf),
    Gateway(PathBuf),
    Profile { name: String, path: PathBuf },
}

/// Every file, or those that were named, can be read.
pub(super) fn syntax(facts: &Facts) -> Vec<Finding> {
    let named = !facts.subject.files.is_empty();
    let files = if named {
        named_files(facts)
    } else {
        all_files(facts)
    };
    let mut findings: Vec<_> = files
        .iter()
        .flat_map(|file| check(file, named, facts))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Syntax, told_files(&files)));
    }
    findings
}

fn told_files(files: &[File]) -> String {
    let mut told = Vec::new();
    let mut profiles = 0;
    for file in files {
        match file {
            File::Daemon(path) | File::Gateway(path) => told.push(path.display().to_string()),
            File::Profile { .. } => profiles += 1,
        }
    }
    if profiles > 0 || told.is_empty() {
        told.push(count(profiles, "profile"));
    }
    told.join(" and ")
}

fn all_files(facts: &Facts) -> Vec<File> {
    let profiles = profiles_in(&facts.daemon.profiles_dir).into_iter();
    let daemon = File::Daemon(facts.locations.config_file.clone());
    let profiles = profiles.map(|(name, path)| File::Profile { name, path });
    let gateway = facts.locations.gateway_file();
    // Not everybody has a gateway, and what is told of files that are there tells of this one.
    let gateway = gateway.exists().then_some(File::Gateway(gateway));
    [daemon]
        .into_iter()
        .chain(gateway)
        .chain(profiles)
        .collect()
}

/// The profiles in a folder, by name.
fn profiles_in(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let profile = |path: PathBuf| {
        let is_profile = path.extension() == Some(OsStr::new("toml"));
        let name = path.file_stem()?.to_str()?.to_owned();
        (is_profile && !name.starts_with('.')).then_some((name, path))
    };
    let mut found: Vec<_> = entries.filter_map(|entry| profile(entry.path())).collect();
    found.sort();
    found.truncate(MOST_PROFILES);
    found
}

fn named_files(facts: &Facts) -> Vec<File> {
    let file = |word: &String| named_file(word, facts);
    facts.subject.files.iter().map(file).collect()
}

/// A profile's name, or a path; what is called as magid.toml or gateway.toml is called is read as one.
fn named_file(word: &str, facts: &Facts) -> File {
    let path = Path::new(word);
    let is_name = !word.contains('/') && path.extension() != Some(OsStr::new("toml"));
    if is_name {
        return File::Profile {
            name: word.to_owned(),
            path: facts.daemon.profiles_dir.join(format!("{word}.toml")),
        };
    }
    let path = facts.subject.current_dir.join(path);
    let config_file = &facts.locations.config_file;
    if path == *config_file || path.file_name() == Some(OsStr::new("magid.toml")) {
        return File::Daemon(path);
    }
    if path.file_name() == Some(OsStr::new("gateway.toml")) {
        return File::Gateway(path);
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    File::Profile {
        name: name.into_owned(),
        path,
    }
}

/// `must_exist`: somebody named it. Else a missing file is the defaults.
fn check(file: &File, must_exist: bool, facts: &Facts) -> Vec<Finding> {
    let (File::Daemon(path) | File::Gateway(path) | File::Profile { path, .. }) = file;
    let read = match source(path) {
        Ok(read) => read,
        Err(error) => {
            let finding = told(Level::Error, &error, None);
            return vec![match is_closed(path) {
                true => finding.help("ask as one who may read it: `sudo magictl check`"),
                false => finding,
            }];
        }
    };
    if read.is_none() && (must_exist || facts.subject.config.as_ref() == Some(path)) {
        let missing = Finding::error(Check::Syntax, format!("there is no {}", path.display()));
        return vec![missing.help("write the name of a profile, or the path of a file")];
    }
    let outcome = match (file, &read) {
        (File::Daemon(_), read) => {
            config::parse_daemon(read.as_ref(), &facts.environment, &facts.locations)
                .map(|parsed| parsed.warnings)
        }
        (File::Gateway(_), read) => {
            config::parse_gateway(read.as_ref(), &facts.environment, &facts.locations)
                .map(|parsed| parsed.warnings)
        }
        (File::Profile { name, .. }, Some(source)) => {
            config::parse_profile(name, source, &facts.daemon).map(|parsed| parsed.warnings)
        }
        // It was there a moment ago.
        (File::Profile { .. }, None) => Ok(Vec::new()),
    };
    let (level, diagnostics) = match outcome {
        Ok(warnings) => (Level::Warning, warnings),
        Err(errors) => (Level::Error, errors),
    };
    let told = diagnostics
        .iter()
        .map(|diagnostic| told(level, diagnostic, read.as_ref()));
    told.collect()
}

fn is_closed(path: &Path) -> bool {
    std::fs::File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn told(level: Level, diagnostic: &Diagnostic, source: Option<&SourceFile>) -> Finding {
    let sources: Vec<_> = source.into_iter().cloned().collect();
    Finding::told(Check::Syntax, level, &Told::new(diagnostic, &sources))
}

/// The active profile exists.
pub(super) fn cross_file(facts: &Facts) -> Vec<Finding> {
    let profiles = profiles_in(&facts.daemon.profiles_dir);
    let there: Vec<_> = profiles.iter().map(|(name, _)| &**name).collect();
    // What was activated counts, and the built-in profile needs no file.
    if let Some(active) = &facts.read.profile {
        let what = format!("the active profile {active} is there");
        return vec![Finding::ok(Check::CrossFile, what)];
    }
    vec![judge_active(
        &facts.daemon,
        &there,
        &facts.locations.config_file,
    )]
}

fn judge_active(daemon: &DaemonConfig, there: &[&str], config_file: &Path) -> Finding {
    let active = &daemon.active_profile;
    let name = &active.name;
    if there.contains(&&**name) {
        return Finding::ok(
            Check::CrossFile,
            format!("the active profile {name} is there"),
        );
    }
    let folder = daemon.profiles_dir.display();
    let what = format!("there is no profile {name} in {folder}");
    let help = match there {
        [] => format!("write {folder}/{name}.toml"),
        _ => format!("name one of those that are there: {}", names(there)),
    };
    match active.chosen_by {
        ChosenBy::Default => Finding::warning(Check::CrossFile, what)
            .because("magid runs without servers")
            .help(help),
        ChosenBy::File => Finding::error(Check::CrossFile, what)
            .because("active_profile asks for it")
            .at(Place::file(config_file))
            .help(help),
        ChosenBy::Variable(variable) => Finding::error(Check::CrossFile, what)
            .because(format!("{variable} asks for it"))
            .help(help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::facts_of;
    use crate::config::ActiveProfile;

    const GOOD: &str = "[servers.x]\nmodel = \"/m.gguf\"\n";

    #[test]
    fn every_profile_is_read_and_not_only_the_active_one() {
        let (_dir, facts) = facts_of(
            "active_profile = \"a\"\n",
            &[("a", GOOD), ("b", "sevrers = 1\n")],
        );
        let findings = syntax(&facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, Level::Error);
        let place = findings[0].place.as_ref().unwrap();
        assert!(place.file.ends_with("b.toml"));
        assert_eq!((place.line, place.column), (Some(1), Some(1)));
        assert!(!findings[0].help.is_empty());
    }

    #[test]
    fn gateway_toml_is_read_where_there_is_one() {
        let (dir, mut facts) = facts_of("", &[]);
        assert_eq!(syntax(&facts)[0].level, Level::Ok);
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, "listen = [\"0.0.0.0:1\"]\n").unwrap();
        let found = &syntax(&facts)[0];
        assert_eq!(found.level, Level::Error);
        assert_eq!(found.place.as_ref().unwrap().column, Some(11));
        facts.subject.files = vec!["gateway.toml".to_owned()];
        assert_eq!(syntax(&facts)[0].level, Level::Error);
    }

    #[test]
    fn a_named_file_is_read_alone_and_has_to_be_there() {
        let (_dir, mut facts) = facts_of("", &[("a", GOOD), ("b", "sevrers = 1\n")]);
        facts.subject.files = vec!["a".to_owned()];
        assert_eq!(syntax(&facts)[0].level, Level::Ok);
        facts.subject.files = vec!["c".to_owned()];
        assert_eq!(syntax(&facts)[0].level, Level::Error);
    }

    #[test]
    fn a_missing_profile_is_an_error_only_if_somebody_asks_for_it() {
        let (_dir, facts) = facts_of("", &[]);
        let mut daemon = facts.daemon;
        let level = |daemon: &DaemonConfig, there: &[&str]| {
            judge_active(daemon, there, Path::new("/m")).level
        };
        assert_eq!(level(&daemon, &[]), Level::Warning);
        assert_eq!(level(&daemon, &["development"]), Level::Ok);
        for chosen_by in [ChosenBy::File, ChosenBy::Variable("MAGI_PROFILE")] {
            daemon.active_profile = ActiveProfile {
                name: "gone".to_owned(),
                chosen_by,
                key: None,
            };
            let found = judge_active(&daemon, &["a", "b"], Path::new("/m"));
            assert_eq!(found.level, Level::Error);
            assert!(found.help.contains("a, b"), "{}", found.help);
        }
    }
}
