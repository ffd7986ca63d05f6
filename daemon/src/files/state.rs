//! Files of state, as an earlier magid, a later one, or a mishap may have left them.
//!
//! A file of a later version is refused and not touched: it holds what this magid cannot know. A
//! file that is broken is set aside and told in the log: it must not keep the servers that it is not
//! about from coming up, and nothing that it says is lost.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::files::{self, ReadError};
use crate::text::one_line;

/// What a file that was set aside ends with.
pub(crate) const ASIDE: &str = "broken";

/// A later magid wrote a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot use {}: it has version {found}, and this magid knows {known}; run the magid that wrote it, or remove \
     the file",
    .path.display()
)]
pub struct NewerVersion {
    /// The file.
    pub path: PathBuf,
    /// Its version.
    pub found: u64,
    /// The newest version that this magid knows.
    pub known: u32,
}

/// Why a text is of no use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A later magid wrote it: its version.
    Newer(u64),
    /// It is not what any magid writes.
    Broken(String),
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// Reads a text of version `known`. The version counts first: of a later one nothing else is known.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, known: u32) -> Result<T, Fault> {
    let broken = |error: serde_json::Error| Fault::Broken(one_line(&error.to_string()));
    let Versioned { version } = serde_json::from_str(text).map_err(broken)?;
    if version > u64::from(known) {
        return Err(Fault::Newer(version));
    }
    if version < u64::from(known) {
        return Err(Fault::Broken(format!(
            "there never was a version {version}"
        )));
    }
    serde_json::from_str(text).map_err(broken)
}

/// Reads the file at `path`, of at most `limit` bytes. None: there is none, or it was set aside.
/// Blocks.
///
/// # Errors
///
/// A later magid wrote it.
pub(crate) fn read<T>(
    path: &Path,
    limit: u64,
    known: u32,
    parse: impl FnOnce(&str) -> Result<T, Fault>,
) -> Result<Option<T>, NewerVersion> {
    let text = match files::read_stable(path, limit) {
        Ok(text) => text,
        Err(ReadError::Missing(_)) => return Ok(None),
        Err(error) => {
            set_aside(path, &error.to_string());
            return Ok(None);
        }
    };
    match parse(&text) {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Newer(found)) => Err(NewerVersion {
            path: path.to_path_buf(),
            found,
            known,
        }),
        Err(Fault::Broken(why)) => {
            set_aside(path, &format!("cannot use {}: {why}", path.display()));
            Ok(None)
        }
    }
}

/// Moves a file to where nobody reads or writes it, in the place of one that was put there before.
fn set_aside(path: &Path, why: &str) {
    let aside = path.with_extension(ASIDE);
    match std::fs::rename(path, &aside) {
        Ok(()) => tracing::warn!("{why}; it was moved to {}", aside.display()),
        Err(error) => tracing::warn!("{why}; cannot move it aside: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Known {
        version: u32,
        name: String,
    }

    fn read_known(path: &Path) -> Result<Option<Known>, NewerVersion> {
        read(path, 1024, 2, |text| parse(text, 2))
    }

    #[test]
    fn what_cannot_be_used_is_set_aside_as_it_is() {
        let truncated = br#"{"version": 2, "na"#;
        let strange = br#"{"version": 2, "name": 7}"#;
        let ancient = br#"{"version": 0, "name": "a"}"#;
        let large = &[b' '; 1025];
        for bytes in [
            &b""[..],
            b"\0\xff garbage",
            b"[]",
            truncated,
            strange,
            ancient,
            large,
        ] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("state.json");
            fs::write(&path, bytes).unwrap();
            assert_eq!(read_known(&path), Ok(None));
            assert!(!path.exists());
            assert_eq!(fs::read(path.with_extension(ASIDE)).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_file_is_set_aside_and_never_waited_for() {
        for make in [
            |path: &Path| fs::create_dir(path).unwrap(),
            |path: &Path| symlink("/dev/zero", path).unwrap(),
            |path: &Path| {
                nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
        ] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("state.json");
            make(&path);
            assert_eq!(read_known(&path), Ok(None));
            assert!(fs::symlink_metadata(&path).is_err());
            assert!(fs::symlink_metadata(path.with_extension(ASIDE)).is_ok());
        }
    }

    #[test]
    fn a_later_version_is_refused_and_not_touched_whatever_else_it_says() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state.json");
        let text = r#"{"name": ["of", "another", "kind"], "version": 3}"#;
        fs::write(&path, text).unwrap();
        assert_eq!(read_known(&path).unwrap_err().found, 3);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn what_a_fault_repeats_of_a_file_is_short_and_clean() {
        let text = format!(
            r#"{{"version": 2, "name": 7, "{}": "\u001b"}}"#,
            "x".repeat(5000)
        );
        let Err(Fault::Broken(why)) = parse::<Known>(&text, 2) else {
            panic!("it is broken");
        };
        assert!(why.len() < 1000 && !why.contains(char::is_control));
    }
}
