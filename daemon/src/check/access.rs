//! Who may reach a file: folder by folder, by owner, groups and access control lists.
//!
//! `access(2)` answers for the one who asks, and the one who asks about magid is mostly somebody else.
//! So the way to the file is gathered here with its permissions, and judged for any account. Root may
//! do everything; the way is gathered all the same, since root may be told about others.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component as Part, Path, PathBuf};

use super::account::Account;
use super::words::shell_quoted;

/// So many symlinks the kernel follows in one path.
const MOST_SYMLINKS: usize = 40;

/// So many parts of a path are looked at.
const MOST_PARTS: usize = 512;

/// The most of an access control list that is read, in bytes.
const LARGEST_ACL: usize = 4096;

/// To read a file or list a folder.
pub(super) const READ: u32 = 4;
/// To change a file or what is in a folder.
pub(super) const WRITE: u32 = 2;
/// To run a file or pass through a folder.
pub(super) const EXECUTE: u32 = 1;

/// A file or folder on the way, with who may do what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    acl: Vec<AclEntry>,
}

/// One entry of a POSIX access control list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AclEntry {
    tag: u16,
    permissions: u32,
    id: u32,
}

const ACL_USER: u16 = 0x02;
const ACL_GROUP_OBJ: u16 = 0x04;
const ACL_GROUP: u16 = 0x08;
const ACL_MASK: u16 = 0x10;

/// The way to a file.
#[derive(Debug)]
pub(super) struct Way {
    /// The folders to pass through.
    pub(super) folders: Vec<Step>,
    /// What is at its end. Absent: we could not look that far, or there is nothing.
    pub(super) end: Option<Step>,
    /// Why it ends before its end.
    pub(super) broken: Option<io::Error>,
}

impl Way {
    /// Walks to `path`, which is absolute, through symlinks. Blocks.
    pub(super) fn to(path: &Path) -> Self {
        let mut way = Self {
            folders: Vec::new(),
            end: None,
            broken: None,
        };
        if let Err(error) = way.walk(path) {
            way.broken = Some(error);
        }
        way
    }

    fn walk(&mut self, path: &Path) -> io::Result<()> {
        let mut parts: VecDeque<OsString> = parts_of(path).collect();
        let mut at = PathBuf::from("/");
        let mut step = Step::look(&at)?;
        let mut seen = BTreeSet::new();
        let mut symlinks = 0;
        for _ in 0..MOST_PARTS {
            let Some(part) = parts.pop_front() else {
                self.end = Some(step);
                return Ok(());
            };
            if seen.insert(at.clone()) {
                self.folders.push(step.clone());
            }
            if part == ".." {
                at.pop();
                step = Step::look(&at)?;
                continue;
            }
            let next = at.join(&part);
            if std::fs::symlink_metadata(&next)?.is_symlink() {
                symlinks += 1;
                if symlinks > MOST_SYMLINKS {
                    break;
                }
                let target = std::fs::read_link(&next)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                    step = Step::look(&at)?;
                }
                for part in parts_of(&target).collect::<Vec<_>>().into_iter().rev() {
                    parts.push_front(part);
                }
                continue;
            }
            at = next;
            step = Step::look(&at)?;
        }
        Err(io::Error::other("it leads through too many symlinks"))
    }

    /// Whether it ends where there is nothing more, and not where we may not look.
    pub(super) fn is_missing(&self) -> bool {
        let broken = self.broken.as_ref();
        broken.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// What keeps `account` from doing `wanted` to the end of the way.
    pub(super) fn obstacles(&self, account: &Account, wanted: u32) -> Vec<(Step, u32)> {
        let folders = self.folders.iter().map(|folder| (folder, EXECUTE));
        let all = folders.chain(self.end.iter().map(|end| (end, wanted)));
        all.filter(|(step, wanted)| !step.allows(account, *wanted))
            .map(|(step, wanted)| (step.clone(), wanted))
            .collect()
    }
}

fn parts_of(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Part::Normal(name) => Some(name.to_owned()),
        Part::ParentDir => Some("..".into()),
        Part::RootDir | Part::CurDir | Part::Prefix(_) => None,
    })
}

impl Step {
    fn look(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            mode: meta.mode(),
            owner: meta.uid(),
            group: meta.gid(),
            acl: read_acl(path),
        })
    }

    /// Whether `account` may do all of `wanted`.
    pub(super) fn allows(&self, account: &Account, wanted: u32) -> bool {
        let allows = |permissions: u32| permissions & wanted == wanted;
        if account.uid == 0 {
            // Root runs only what somebody may run; folders it enters all.
            let is_folder = self.mode & 0o170_000 == 0o040_000;
            return is_folder || wanted & EXECUTE == 0 || self.mode & 0o111 != 0;
        }
        if account.uid == self.owner {
            return allows(self.mode >> 6);
        }
        let entries = |tag: u16| self.acl.iter().filter(move |entry| entry.tag == tag);
        let mask = entries(ACL_MASK).next().map_or(7, |mask| mask.permissions);
        if let Some(user) = entries(ACL_USER).find(|entry| entry.id == account.uid) {
            return allows(user.permissions & mask);
        }
        // With a list, the group's bits of the mode are its mask.
        let own_group = entries(ACL_GROUP_OBJ).next();
        let own_group = own_group.map_or(self.mode >> 3 & 7, |entry| entry.permissions);
        let named = entries(ACL_GROUP).map(|entry| (entry.id, entry.permissions));
        let mut of_ours = named
            .chain([(self.group, own_group)])
            .filter(|(group, _)| account.groups.contains(group))
            .peekable();
        if of_ours.peek().is_some() {
            return of_ours.any(|(_, permissions)| allows(permissions & mask));
        }
        allows(self.mode)
    }

    /// Whether everybody may do any of `unwanted`.
    pub(super) fn is_open_to_others(&self, unwanted: u32) -> bool {
        self.mode & unwanted & 7 != 0
    }
}

/// The commands that take the obstacles away.
pub(super) fn remedy(account: &Account, obstacles: &[(Step, u32)], has_setfacl: bool) -> String {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for (step, wanted) in obstacles {
        let rights = rights(*wanted);
        let command = if step.owner == account.uid {
            format!("chmod u+{rights}")
        } else if account.uid == 0 {
            format!("chmod a+{rights}")
        } else if has_setfacl {
            format!("setfacl -m u:{}:{rights}", account.name)
        } else if account.groups.contains(&step.group) {
            format!("chmod g+{rights}")
        } else {
            format!("chmod o+{rights}")
        };
        let path = shell_quoted(&step.path.display().to_string());
        match commands.iter_mut().find(|(known, _)| *known == command) {
            Some((_, paths)) => paths.push(path),
            None => commands.push((command, vec![path])),
        }
    }
    let lines = commands
        .into_iter()
        .map(|(command, paths)| format!("{command} {}", paths.join(" ")));
    lines.collect::<Vec<_>>().join(" && ")
}

fn rights(wanted: u32) -> String {
    let letters = [(READ, 'r'), (WRITE, 'w'), (EXECUTE, 'x')];
    let wanted = letters.into_iter().filter(|(bit, _)| wanted & bit != 0);
    wanted.map(|(_, letter)| letter).collect()
}

/// The list of a file; empty if it has none, or its file system knows none.
fn read_acl(path: &Path) -> Vec<AclEntry> {
    let mut buffer = [0; LARGEST_ACL];
    match rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut buffer) {
        Ok(length) => parse_acl(&buffer[..length]),
        Err(_) => Vec::new(),
    }
}

/// After a version of four bytes, each entry has a tag, permissions and an id.
fn parse_acl(bytes: &[u8]) -> Vec<AclEntry> {
    let entries = bytes.get(4..).unwrap_or_default().chunks_exact(8);
    let entry = |bytes: &[u8]| AclEntry {
        tag: u16::from_le_bytes([bytes[0], bytes[1]]),
        permissions: u32::from(u16::from_le_bytes([bytes[2], bytes[3]])),
        id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    entries.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn step(mode: u32, owner: u32, group: u32, acl: Vec<AclEntry>) -> Step {
        Step {
            path: "/home/bob".into(),
            mode: 0o040_000 | mode,
            owner,
            group,
            acl,
        }
    }

    fn magi() -> Account {
        Account {
            name: "magi".to_owned(),
            uid: 900,
            groups: vec![900, 44],
        }
    }

    fn entry(tag: u16, permissions: u32, id: u32) -> AclEntry {
        AclEntry {
            tag,
            permissions,
            id,
        }
    }

    #[test]
    fn the_owners_bits_count_for_the_owner_even_if_others_have_more() {
        assert!(!step(0o077, 900, 1, vec![]).allows(&magi(), EXECUTE));
        assert!(step(0o100, 900, 1, vec![]).allows(&magi(), EXECUTE));
    }

    #[test]
    fn a_group_that_is_refused_is_not_saved_by_the_bits_for_others() {
        assert!(!step(0o705, 1, 44, vec![]).allows(&magi(), EXECUTE));
        assert!(step(0o750, 1, 44, vec![]).allows(&magi(), READ | EXECUTE));
        assert!(step(0o701, 1, 1, vec![]).allows(&magi(), EXECUTE));
        assert!(!step(0o700, 1, 1, vec![]).allows(&magi(), EXECUTE));
    }

    #[test]
    fn a_user_on_the_list_is_let_in_as_far_as_the_mask_goes() {
        let named = vec![entry(ACL_USER, 5, 900), entry(ACL_MASK, 5, u32::MAX)];
        assert!(step(0o750, 1, 1, named).allows(&magi(), READ | EXECUTE));
        let masked = vec![entry(ACL_USER, 5, 900), entry(ACL_MASK, 4, u32::MAX)];
        assert!(!step(0o740, 1, 1, masked).allows(&magi(), EXECUTE));
    }

    #[test]
    fn a_group_on_the_list_is_let_in() {
        let named = vec![entry(ACL_GROUP_OBJ, 0, u32::MAX), entry(ACL_GROUP, 1, 44)];
        assert!(step(0o710, 1, 1, named.clone()).allows(&magi(), EXECUTE));
        assert!(!step(0o710, 1, 1, named).allows(&magi(), READ));
    }

    #[test]
    fn root_enters_every_folder_and_runs_only_programs() {
        let root = Account {
            name: "root".to_owned(),
            uid: 0,
            groups: vec![0],
        };
        assert!(step(0, 1, 1, vec![]).allows(&root, READ | WRITE | EXECUTE));
        let mut file = step(0, 1, 1, vec![]);
        file.mode = 0o100_644;
        assert!(!file.allows(&root, EXECUTE));
        assert!(file.allows(&root, READ));
    }

    #[test]
    fn the_way_goes_through_symlinks_and_what_they_pass() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("store/private")).unwrap();
        std::fs::write(root.join("store/private/m.gguf"), "").unwrap();
        symlink("../store/private", root.join("store/link")).unwrap();
        let private = root.join("store/private");
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
        let way = Way::to(&root.join("store/link/m.gguf"));
        assert!(way.folders.iter().any(|step| step.path == private));
        assert_eq!(way.end.unwrap().path, private.join("m.gguf"));
    }

    #[test]
    fn a_loop_and_a_gap_are_ways_that_end_early() {
        let dir = tempfile::tempdir().unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(Way::to(&dir.path().join("loop")).broken.is_some());
        let gap = Way::to(&dir.path().join("gone/x"));
        assert_eq!(gap.broken.unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_remedy_is_a_command_to_copy() {
        let mut home = step(0o700, 1000, 1000, vec![]);
        let mut file = step(0o600, 1000, 1000, vec![]);
        home.path = "/home/bob".into();
        file.path = "/home/bob/my models/a.gguf".into();
        let obstacles = [(home, EXECUTE), (file, READ)];
        assert_eq!(
            remedy(&magi(), &obstacles, true),
            "setfacl -m u:magi:x /home/bob && setfacl -m u:magi:r '/home/bob/my models/a.gguf'"
        );
        assert_eq!(
            remedy(&magi(), &obstacles[..1], false),
            "chmod o+x /home/bob"
        );
        let own = [(step(0, 900, 900, vec![]), READ | EXECUTE)];
        assert_eq!(remedy(&magi(), &own, true), "chmod u+rx /home/bob");
    }

    #[test]
    fn a_list_is_read_as_the_kernel_writes_it() {
        let bytes = [2, 0, 0, 0, 2, 0, 5, 0, 0x84, 3, 0, 0, 9, 9];
        assert_eq!(parse_acl(&bytes), [entry(ACL_USER, 5, 900)]);
        assert_eq!(parse_acl(&[2]), []);
    }
}
