//! What a content is recognised by.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::generation::Content;

/// SHA-256 over a content: the name of the profile and the texts. Where the files are does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits in lower case")]
pub struct NoDigest;

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &Content) -> Self {
        let profile = content.profile.as_ref();
        let parts = [
            content.daemon.as_ref().map(|file| file.text.as_str()),
            profile.map(|profile| profile.name.as_str()),
            profile.and_then(|profile| profile.file.as_ref().map(|file| file.text.as_str())),
        ];
        let mut hasher = Sha256::new();
        hasher.update(b"generation 1");
        for part in parts {
            // With its length before it, no part can be taken for the end of the one before.
            match part {
                None => hasher.update([0]),
                Some(text) => {
                    hasher.update([1]);
                    hasher.update((text.len() as u64).to_le_bytes());
                    hasher.update(text);
                }
            }
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(NoDigest),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(NoDigest);
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::tests::content;

    #[test]
    fn where_a_file_is_does_not_count() {
        let mut moved = content("a = 1", "b = 2");
        moved.daemon.as_mut().unwrap().path = "/elsewhere/magid.toml".into();
        assert_eq!(Digest::of(&moved), Digest::of(&content("a = 1", "b = 2")));
    }

    #[test]
    fn each_text_the_name_of_the_profile_and_their_absence_count() {
        let full = content("a = 1", "b = 2");
        let mut others = vec![
            content("a = 1b", " = 2"),
            content("", "b = 2"),
            content("a = 1", ""),
            Content::default(),
        ];
        let mut renamed = full.clone();
        renamed.profile.as_mut().unwrap().name = "production".to_owned();
        let mut built_in = full.clone();
        built_in.profile.as_mut().unwrap().file = None;
        let mut without_magid_toml = full.clone();
        without_magid_toml.daemon = None;
        others.extend([full, renamed, built_in, without_magid_toml]);
        let digests: std::collections::BTreeSet<_> = others.iter().map(Digest::of).collect();
        assert_eq!(digests.len(), others.len());
    }

    #[test]
    fn a_digest_is_read_as_it_was_written_and_nothing_else_is_one() {
        let digest = Digest::of(&content("", ""));
        let text = digest.to_string();
        assert_eq!(text.len(), 64);
        assert!(Digest::try_from(text.clone()).is_ok_and(|read| read == digest));
        for wrong in [
            text.to_ascii_uppercase(),
            text[1..].to_owned(),
            text[1..].to_owned() + "é",
            "g".repeat(64),
        ] {
            assert!(Digest::try_from(wrong).is_err());
        }
    }
}
