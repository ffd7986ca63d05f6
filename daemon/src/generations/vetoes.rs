//! Content that is not tried again by itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::files::state::{self, Fault};
use crate::text::one_line;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// So many are remembered: whoever edits in circles comes back to one of the newest.
const MOST: usize = 32;

/// A content that was refused, or vetoed by a server that did not get ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// The digest of the content.
    pub digest: Digest,
    /// The server that vetoed it. None: it was refused before any was touched.
    pub by: Option<String>,
    /// Why, in a line.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// All that are remembered, oldest first; of each content the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vetoes(Vec<Veto>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    vetoed: Vec<Veto>,
}

impl Vetoes {
    /// The same with another one.
    pub(super) fn with(&self, veto: Veto) -> Self {
        let mut all = self.without(&veto.digest);
        all.0.push(clean(veto));
        let surplus = all.0.len().saturating_sub(MOST);
        all.0.drain(..surplus);
        all
    }

    /// The same without that of a content.
    pub(super) fn without(&self, digest: &Digest) -> Self {
        let others = self.0.iter().filter(|veto| veto.digest != *digest);
        Self(others.cloned().collect())
    }

    /// That of a content.
    pub(super) fn of(&self, digest: &Digest) -> Option<&Veto> {
        self.0.iter().find(|veto| veto.digest == *digest)
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(&Written {
            version: VERSION,
            vetoed: self.0.clone(),
        })?;
        text.push('\n');
        Ok(text)
    }

    /// Reads the text of the file.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let written: Written = state::parse(text, VERSION)?;
        let all = written.vetoed.into_iter();
        Ok(all.fold(Self::default(), |all, veto| all.with(veto)))
    }
}

/// What a server said comes from outside.
fn clean(veto: Veto) -> Veto {
    Veto {
        by: veto.by.as_deref().map(one_line),
        why: one_line(&veto.why),
        ..veto
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::tests::{at, content};

    fn veto(number: usize, why: &str) -> Veto {
        Veto {
            digest: Digest::of(&content("", &number.to_string())),
            by: Some("qwen".to_owned()),
            why: why.to_owned(),
            at: at(0),
        }
    }

    #[test]
    fn the_newest_are_remembered_and_come_back_as_they_were_written() {
        let all = (0..MOST + 3).fold(Vetoes::default(), |all, number| all.with(veto(number, "")));
        assert_eq!(all.of(&veto(2, "").digest), None);
        assert_eq!(all.of(&veto(3, "").digest), Some(&veto(3, "")));
        assert_eq!(Vetoes::parse(&all.text().unwrap()), Ok(all));
    }

    #[test]
    fn of_each_content_the_last_one_counts_until_it_is_forgotten() {
        let all = Vetoes::default().with(veto(1, "first")).with(veto(2, ""));
        let all = all.with(veto(1, "second"));
        assert_eq!(all.of(&veto(1, "").digest).unwrap().why, "second");
        let forgotten = all.without(&veto(1, "").digest);
        assert_eq!(forgotten, Vetoes::default().with(veto(2, "")));
    }

    #[test]
    fn what_a_server_said_is_kept_short_and_clean() {
        let all = Vetoes::default().with(veto(1, &"\u{1b}[31m".repeat(1000)));
        let why = &all.of(&veto(1, "").digest).unwrap().why;
        assert!(why.len() < 1000 && !why.contains(char::is_control));
    }
}
