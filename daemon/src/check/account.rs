//! As whom magid runs.

use std::path::Path;

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups};

use crate::process::procfs;

/// Where packages and administrators put the unit.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/magid.service",
    "/usr/lib/systemd/system/magid.service",
    "/lib/systemd/system/magid.service",
];

/// The user that the unit names.
const SERVICE_USER: &str = "magi";

/// A user, as far as permissions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name, or the number if it has none.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

impl Account {
    /// The user magid runs as: that of the process if one runs, that of the unit if root asks about a
    /// service that does not run, else the one who asks.
    pub(super) fn of_magid(pid: Option<u32>) -> Self {
        let running =
            pid.and_then(|pid| Self::parse(&procfs::text(format!("/proc/{pid}/status")).ok()?));
        let service = || {
            let installed = UNITS.iter().any(|unit| Path::new(unit).exists());
            (installed && geteuid().is_root()).then(|| Self::named(SERVICE_USER))?
        };
        running.or_else(service).unwrap_or_else(Self::own)
    }

    /// Whether it is the one who asks.
    pub(super) fn is_us(&self) -> bool {
        self.uid == geteuid().as_raw()
    }

    /// The first of its groups, which is its own.
    pub(super) fn group(&self) -> Option<u32> {
        self.groups.first().copied()
    }

    fn own() -> Self {
        let mut groups = vec![getegid().as_raw()];
        groups.extend(getgroups().unwrap_or_default().iter().map(|g| g.as_raw()));
        Self {
            name: name_of(geteuid()),
            uid: geteuid().as_raw(),
            groups,
        }
    }

    fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok()??;
        let c_name = std::ffi::CString::new(name).ok()?;
        let groups = getgrouplist(&c_name, user.gid).ok();
        let mut all = vec![user.gid.as_raw()];
        all.extend(groups.unwrap_or_default().into_iter().map(Gid::as_raw));
        Some(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            groups: all,
        })
    }

    /// Reads `/proc/PID/status`: of four ids the last is the one that files see.
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let numbers = line.split_whitespace().map(|word| word.parse().ok());
            numbers.collect::<Option<Vec<u32>>>()
        };
        let uid = *field("Uid")?.get(3)?;
        let mut groups = vec![*field("Gid")?.get(3)?];
        groups.extend(field("Groups")?);
        Some(Self {
            name: name_of(Uid::from_raw(uid)),
            uid,
            groups,
        })
    }
}

fn name_of(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_ids_that_files_see() {
        let status = "Name:\tmagid\nUid:\t1\t2\t3\t65533\nGid:\t1\t2\t3\t44\nGroups:\t44 105 \n";
        let account = Account::parse(status).unwrap();
        assert_eq!((account.uid, account.groups), (65533, vec![44, 44, 105]));
        assert_eq!(account.name, "65533");
    }

    #[test]
    fn our_own_process_is_us() {
        let account = Account::of_magid(Some(std::process::id()));
        assert!(account.is_us());
        assert_eq!(Account::parse("Uid:\tx"), None);
    }
}
