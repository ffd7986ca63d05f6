//! Models: each server's is there, and magid may read it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::access::{EXECUTE, READ, Step, Way, remedy};
use super::account::Account;
use super::facts::Facts;
use super::finding::{Check, Finding, Level};
use super::words::{count, names};

/// Each server's model is found.
pub(super) fn models(facts: &Facts) -> Vec<Finding> {
    let definitions = &facts.read.definitions;
    let missing: Vec<_> = definitions
        .values()
        .filter_map(|d| Some((d.name.clone(), d.launch.model.file.clone().err()?)))
        .collect();
    if missing.is_empty() {
        let servers = count(definitions.len(), "server");
        return vec![Finding::ok(
            Check::Models,
            format!("{servers}, none without its model"),
        )];
    }
    let told = facts.read.missing_models(&missing);
    told.iter()
        .map(|told| Finding::told(Check::Models, Level::Error, told))
        .collect()
}

/// The user that magid runs as may read them, and list the folders that they are looked for in.
pub(super) fn model_access(facts: &Facts) -> Vec<Finding> {
    let account = &facts.account;
    // What has the same obstacles is told together.
    let mut blocking: BTreeMap<Vec<(Step, u32)>, Vec<String>> = BTreeMap::new();
    let mut findings = Vec::new();
    let wanted = wanted(facts);
    for (whose, path, rights) in &wanted {
        let way = Way::to(path);
        let obstacles = way.obstacles(account, *rights);
        if !obstacles.is_empty() {
            blocking.entry(obstacles).or_default().push(whose.clone());
        } else if let Some(error) = way.broken.as_ref().filter(|_| !way.is_missing()) {
            findings.push(unknown(path, error));
        }
    }
    let has_setfacl = facts.has_program("setfacl");
    let told =
        |(obstacles, whose): (&Vec<_>, &Vec<_>)| blocked(account, obstacles, whose, has_setfacl);
    findings.extend(blocking.iter().map(told));
    if findings.is_empty() {
        let what = format!("{} may read what is there", account.name);
        findings.push(Finding::ok(Check::ModelAccess, what));
    }
    findings
}

/// What has to be read, whose it is, and the rights that takes. A model that is written as a path counts
/// even if it was not found: who may not look finds nothing.
fn wanted(facts: &Facts) -> Vec<(String, PathBuf, u32)> {
    let scan_paths = facts.daemon.scan_paths.iter().map(|scan| {
        let whose = format!("the models in {}", scan.path.display());
        (whose, scan.path.clone(), READ | EXECUTE)
    });
    let models = facts.read.definitions.values().filter_map(|definition| {
        let model = &definition.launch.model;
        let path = match &model.file {
            Ok(path) => path.clone(),
            Err(_) if model.written.contains('/') => {
                let (profile, _) = definition.defined_at.rsplit_once(':')?;
                Path::new(profile).parent()?.join(&model.written)
            }
            Err(_) => return None,
        };
        Some((format!("the model of {}", definition.name), path, READ))
    });
    scan_paths.chain(models).collect()
}

fn blocked(
    account: &Account,
    obstacles: &[(Step, u32)],
    whose: &[String],
    has_setfacl: bool,
) -> Finding {
    let paths = obstacles.iter().map(|(step, _)| step.path.display());
    let what = format!(
        "{}, as whom magid runs, may not read {}",
        account.name,
        names(whose)
    );
    Finding::error(Check::ModelAccess, what)
        .because(format!("not let in by {}", names(paths)))
        .help(remedy(account, obstacles, has_setfacl))
}

fn unknown(file: &Path, error: &io::Error) -> Finding {
    let what = format!("cannot look at the way to {}", file.display());
    Finding::skipped(Check::ModelAccess, what).because(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::check::tests::facts_of;

    #[test]
    fn a_missing_model_is_told_at_its_place() {
        let (_dir, facts) = facts_of(
            "active_profile = \"a\"\n",
            &[("a", "[servers.x]\nmodel = \"/nowhere/m.gguf\"\n")],
        );
        let findings = models(&facts);
        assert_eq!(findings.len(), 1);
        let place = findings[0].place.as_ref().unwrap();
        assert_eq!((place.line, place.column), (Some(2), Some(9)));
        assert!(findings[0].what.contains("server x"), "{findings:?}");
    }

    #[test]
    fn servers_behind_the_same_folder_are_told_once_with_the_command_that_helps() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("private");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        let mut profile = String::new();
        for name in ["x", "y"] {
            let file = folder.join(format!("{name}.gguf"));
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
            profile += &format!("[servers.{name}]\nmodel = {file:?}\n");
        }
        let (_dir, mut facts) = facts_of("active_profile = \"a\"\n", &[("a", &profile)]);
        assert_eq!(model_access(&facts)[0].level, Level::Ok);
        facts.account = Account {
            name: "nobody-else".to_owned(),
            uid: 64_000,
            groups: vec![64_000],
        };
        let findings = model_access(&facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, Level::Error);
        assert!(findings[0].what.ends_with("the model of x, the model of y"));
        assert!(findings[0].help.ends_with(&folder.display().to_string()));
    }
}
