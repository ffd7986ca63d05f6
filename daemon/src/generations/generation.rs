//! What a generation is.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::files::state::{self, Fault};
use crate::text::one_line;

const VERSION: u32 = 1;

/// The texts that a configuration consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// magid.toml, if there is one.
    pub daemon: Option<StoredFile>,
    /// The active profile, if there is one.
    pub profile: Option<ActiveProfile>,
}

/// The profile that was active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveProfile {
    /// Its name.
    pub name: String,
    /// Its file. The built-in one has none.
    pub file: Option<StoredFile>,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// Where it was, and is written back to.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A configuration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Counts from 1, one more for each applied change.
    pub number: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// When it was applied.
    pub applied_at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The same for people: `2 replaced, 1 started`.
    pub summary: String,
    /// Its texts.
    pub content: Content,
}

/// A generation without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Counts from 1, one more for each applied change.
    pub number: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// The name of the active profile, if there was one.
    pub profile: Option<String>,
    /// When it was applied.
    pub applied_at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The same for people.
    pub summary: String,
    /// Its files.
    pub files: Vec<FileSize>,
}

/// A file, and how large it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSize {
    /// Where it was.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a generation was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Cause {
    /// magid started.
    Start,
    /// A file changed.
    Edit,
    /// Somebody asked for a reload.
    Reload,
    /// Another profile was activated.
    Activate,
    /// Somebody went back to a former generation.
    Rollback {
        /// Its number.
        to: u64,
    },
}

impl Content {
    /// The files: magid.toml first.
    pub fn files(&self) -> impl Iterator<Item = &StoredFile> {
        let profile = self.profile.as_ref();
        let profile = profile.and_then(|profile| profile.file.as_ref());
        self.daemon.iter().chain(profile)
    }
}

impl Cause {
    /// The stable word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Edit => "edit",
            Self::Reload => "reload",
            Self::Activate => "activate",
            Self::Rollback { to: _ } => "rollback",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollback { to } => write!(f, "rollback to {to}"),
            Self::Start | Self::Edit | Self::Reload | Self::Activate => f.write_str(self.code()),
        }
    }
}

/// What its file has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    number: u64,
    digest: Digest,
    applied_at: Timestamp,
    cause: Cause,
    summary: String,
    content: Content,
}

impl Generation {
    /// Makes the generation `number`.
    pub(crate) fn new(
        number: u64,
        content: Content,
        cause: Cause,
        summary: &str,
        applied_at: Timestamp,
    ) -> Self {
        Self {
            number,
            digest: Digest::of(&content),
            applied_at,
            cause,
            summary: one_line(summary),
            content,
        }
    }

    /// The same without the texts.
    pub fn header(&self) -> Header {
        let size = |file: &StoredFile| FileSize {
            path: file.path.clone(),
            size: file.text.len() as u64,
        };
        let profile = self.content.profile.as_ref();
        Header {
            number: self.number,
            digest: self.digest,
            profile: profile.map(|profile| profile.name.clone()),
            applied_at: self.applied_at,
            cause: self.cause,
            summary: self.summary.clone(),
            files: self.content.files().map(size).collect(),
        }
    }

    /// The text of its file.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        let written = Written {
            version: VERSION,
            number: self.number,
            digest: self.digest,
            applied_at: self.applied_at,
            cause: self.cause,
            summary: self.summary.clone(),
            content: self.content.clone(),
        };
        let mut text = serde_json::to_string_pretty(&written)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads the text of its file. One whose texts are not those it was made of is of no use.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let written: Written = state::parse(text, VERSION)?;
        if Digest::of(&written.content) != written.digest {
            let why = "its texts were changed: they do not have its digest";
            return Err(Fault::Broken(why.to_owned()));
        }
        Ok(Self {
            number: written.number,
            digest: written.digest,
            applied_at: written.applied_at,
            cause: written.cause,
            summary: one_line(&written.summary),
            content: written.content,
        })
    }

    /// The version of the format of its file.
    pub(super) const fn version() -> u32 {
        VERSION
    }
}

/// A path as text; one that is none, as bytes.
mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(to),
            None => path.as_os_str().as_bytes().serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::generations::tests::{at, content};

    #[test]
    fn a_generation_is_read_as_it_was_written() {
        let mut strange = content("a = \"\u{1b}\"", "");
        let path = OsStr::from_bytes(b"/etc/\xff/magid.toml");
        strange.daemon.as_mut().unwrap().path = path.into();
        for (content, cause) in [
            (content("a = 1\n", "[servers.x]\n"), Cause::Edit),
            (Content::default(), Cause::Rollback { to: 3 }),
            (strange, Cause::Start),
        ] {
            let made = Generation::new(7, content, cause, "1 started", at(0));
            assert_eq!(Generation::parse(&made.text().unwrap()), Ok(made));
        }
    }

    #[test]
    fn a_generation_whose_text_was_changed_is_of_no_use() {
        let made = Generation::new(7, content("", "port = 1"), Cause::Edit, "", at(0));
        let text = made.text().unwrap().replace("port = 1", "port = 2");
        let Err(Fault::Broken(why)) = Generation::parse(&text) else {
            panic!("it is broken");
        };
        assert!(why.contains("digest"));
    }

    #[test]
    fn a_header_has_all_but_the_texts() {
        let made = Generation::new(7, content("four", "seven ."), Cause::Edit, "", at(0));
        let header = made.header();
        let sizes: Vec<_> = header.files.iter().map(|file| file.size).collect();
        assert_eq!(
            (sizes, header.profile.as_deref()),
            (vec![4, 7], Some("development"))
        );
    }
}
