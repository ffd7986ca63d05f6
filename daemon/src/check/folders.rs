//! magid's own folders and files: usable by it, and not by everybody.

use std::path::Path;

use super::access::{EXECUTE, READ, Step, WRITE, Way, remedy};
use super::account::Account;
use super::facts::Facts;
use super::finding::{Check, Finding, Place};
use super::words::{names, shell_quoted};
use crate::secrets::is_secret;

/// `StateDirectory=`, `RuntimeDirectory=` and `LogsDirectory=` of the unit.
const MADE_BY_SYSTEMD: [&str; 3] = ["/var/lib/magi", "/run/magi", "/var/log/magi"];

/// What magid does in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It writes there, and makes it if it is not there.
    Own,
    /// It reads there.
    Read,
}

/// magid can use its folders, and not everybody can.
pub(super) fn folders(facts: &Facts) -> Vec<Finding> {
    let daemon = &facts.daemon;
    let folders = [
        ("state", &daemon.state_dir, Use::Own),
        ("runtime", &daemon.runtime_dir, Use::Own),
        ("log", &daemon.log_dir, Use::Own),
        ("profiles", &daemon.profiles_dir, Use::Read),
    ];
    let has_setfacl = facts.has_program("setfacl");
    // The service that does not run: when it starts, systemd makes them, and they are its user's.
    let is_coming = |path: &Path| {
        let is_service = facts.pid.is_none() && !facts.account.is_us();
        is_service && MADE_BY_SYSTEMD.iter().any(|made| path == Path::new(made)) && !path.exists()
    };
    let folders = folders.into_iter().filter(|(_, path, _)| !is_coming(path));
    let judge = |(what, path, usage): (&str, &std::path::PathBuf, Use)| {
        judge_folder(
            what,
            path,
            usage,
            &Way::to(path),
            &facts.account,
            has_setfacl,
        )
    };
    let mut findings: Vec<_> = folders.flat_map(judge).collect();
    if findings.is_empty() {
        let what = format!(
            "{} can use state, runtime, log and profiles",
            facts.account.name
        );
        findings.push(Finding::ok(Check::Folders, what));
    }
    findings
}

fn judge_folder(
    what: &str,
    path: &Path,
    usage: Use,
    way: &Way,
    account: &Account,
    has_setfacl: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wanted = match usage {
        Use::Own => READ | WRITE | EXECUTE,
        Use::Read => READ | EXECUTE,
    };
    let obstacles = match (&way.end, usage) {
        (Some(_), _) => way.obstacles(account, wanted),
        // It will be made in the last folder that is there.
        (None, Use::Own) if way.is_missing() => cannot_make(way, account),
        (None, Use::Own | Use::Read) => way.obstacles(account, 0),
    };
    if !obstacles.is_empty() {
        let is_there = way.end.is_some();
        let verb = if is_there { "use" } else { "make" };
        let text = format!(
            "{}, as whom magid runs, may not {verb} the {what} folder {}",
            account.name,
            path.display()
        );
        let paths = names(obstacles.iter().map(|(step, _)| step.path.display()));
        let help = match is_there {
            true => remedy(account, &obstacles, has_setfacl),
            false => format!(
                "install -d -m 0750 -o {} {}",
                account.name,
                shell_quoted(&path.display().to_string())
            ),
        };
        let finding = Finding::error(Check::Folders, text);
        findings.push(finding.because(format!("not let in by {paths}")).help(help));
    }
    if let Some(end) = way.end.as_ref().filter(|end| is_everybodys(end)) {
        let finding = Finding::error(
            Check::Folders,
            format!(
                "everybody may write to the {what} folder {}",
                end.path.display()
            ),
        )
        .because("who can write there can have magid run what he likes")
        .help(format!(
            "chmod o-w {}",
            shell_quoted(&end.path.display().to_string())
        ));
        findings.push(finding);
    }
    findings
}

fn cannot_make(way: &Way, account: &Account) -> Vec<(Step, u32)> {
    let mut obstacles = way.obstacles(account, 0);
    let last = way.folders.last();
    let closed = last.filter(|folder| !folder.allows(account, WRITE | EXECUTE));
    obstacles.extend(closed.map(|folder| (folder.clone(), WRITE | EXECUTE)));
    obstacles
}

/// A sticky folder lets everybody write, but nobody touch what is another's.
fn is_everybodys(step: &Step) -> bool {
    step.is_open_to_others(WRITE)
}

/// Files with secrets are nobody else's.
pub(super) fn secrets(facts: &Facts) -> Vec<Finding> {
    let definitions = facts.read.definitions.values();
    let with_secrets = definitions.filter(|d| d.launch.env.keys().any(|name| is_secret(name)));
    let mut files: Vec<_> = with_secrets
        .filter_map(|d| d.defined_at.rsplit_once(':'))
        .map(|(file, _)| file)
        .collect();
    files.dedup();
    let mut findings: Vec<_> = files
        .iter()
        .filter_map(|file| judge_secret(Path::new(file), &Way::to(Path::new(file))))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            Check::Secrets,
            match files.is_empty() {
                true => "no profile has a secret",
                false => "nobody else may read the profile with secrets",
            },
        ));
    }
    findings
}

fn judge_secret(file: &Path, way: &Way) -> Option<Finding> {
    let is_reachable = way
        .folders
        .iter()
        .all(|folder| folder.is_open_to_others(EXECUTE));
    let is_open = way
        .end
        .as_ref()
        .is_some_and(|end| end.is_open_to_others(READ));
    (is_reachable && is_open).then(|| {
        Finding::warning(
            Check::Secrets,
            "everybody may read a profile with secrets in `env`",
        )
        .because("its variables have the names of keys, tokens or passwords")
        .help(format!(
            "chmod o-r {}",
            shell_quoted(&file.display().to_string())
        ))
        .at(Place::file(file))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::check::finding::Level;

    fn stranger() -> Account {
        Account {
            name: "stranger".to_owned(),
            uid: 64_000,
            groups: vec![64_000],
        }
    }

    fn judge(path: &Path, usage: Use, account: &Account) -> Vec<Finding> {
        judge_folder("state", path, usage, &Way::to(path), account, true)
    }

    #[test]
    fn a_folder_that_is_somebody_elses_is_told_with_the_command_that_helps() {
        let dir = tempfile::tempdir().unwrap();
        let findings = judge(dir.path(), Use::Own, &stranger());
        assert_eq!(findings[0].level, Level::Error);
        assert!(
            findings[0].help.starts_with("setfacl -m u:stranger:rwx "),
            "{}",
            findings[0].help
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_made_where_that_is_possible() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        let findings = judge(&missing, Use::Own, &stranger());
        assert!(
            findings[0]
                .help
                .starts_with("install -d -m 0750 -o stranger")
        );
        assert_eq!(judge(&missing, Use::Read, &stranger()), []);
        set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(judge(&missing, Use::Own, &stranger()), []);
    }

    #[test]
    fn a_folder_that_everybody_may_write_to_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        create_dir(&open).unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let findings = judge(&open, Use::Own, &stranger());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].help, format!("chmod o-w {}", open.display()));
    }

    #[test]
    fn a_secret_is_open_only_if_the_way_to_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.toml");
        write(&file, "").unwrap();
        set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(judge_secret(&file, &Way::to(&file)), None);
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            judge_secret(&file, &Way::to(&file)).unwrap().level,
            Level::Warning
        );
        set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(judge_secret(&file, &Way::to(&file)), None);
    }
}
