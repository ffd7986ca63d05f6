//! Which profile is active: what changed last.
//!
//! Three may say it: an activation, the variable `MAGI_PROFILE`, and the key `active_profile` in magid.toml.
//! The one that changed last is right. So with each activation is stored what the variable and the
//! key said then, and what they say later counts only if it is something else. Both may have changed
//! while magid was down, and nobody knows which did so last: the variable wins, as everywhere.
//!
//! A profile that the variable chose stays chosen only as long as there is the variable; so it is
//! with the key.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::MAX_FILE_SIZE;
use crate::files;
use crate::files::state::{self, Fault};
use crate::name::ServerName;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// Which profile is active, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The name of the profile.
    pub profile: String,
    /// Who chose it.
    pub by: ChosenBy,
    /// What the variable said then.
    pub variable: Option<String>,
    /// What the key said then.
    pub key: Option<String>,
}

/// Who chose a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChosenBy {
    /// Somebody activated it.
    Activation,
    /// The variable.
    Variable,
    /// The key in magid.toml.
    Key,
}

/// Which profile is active, given what was stored last and what the variable and the key say now. The
/// answer is to be stored if it differs from `stored`. None: nobody chose any.
pub fn active_profile(
    stored: Option<&Activation>,
    variable: Option<&str>,
    key: Option<&str>,
) -> Option<Activation> {
    let chosen = |profile: &str, by| Activation {
        profile: profile.to_owned(),
        by,
        variable: variable.map(str::to_owned),
        key: key.map(str::to_owned),
    };
    let by_variable = variable.map(|profile| chosen(profile, ChosenBy::Variable));
    let by_key = key.map(|profile| chosen(profile, ChosenBy::Key));
    let Some(stored) = stored else {
        return by_variable.or(by_key);
    };
    let variable_is_news = variable != stored.variable.as_deref();
    let key_is_news = key != stored.key.as_deref();
    if variable_is_news && by_variable.is_some() {
        return by_variable;
    }
    if key_is_news && by_key.is_some() {
        return by_key;
    }
    match stored.by {
        ChosenBy::Variable if variable.is_none() => by_key,
        ChosenBy::Key if key.is_none() => by_variable,
        ChosenBy::Activation | ChosenBy::Variable | ChosenBy::Key => {
            Some(chosen(&stored.profile, stored.by))
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    activation: Activation,
}

/// What was activated last, for those who only look. Blocks.
pub fn activated(state_dir: &Path) -> Option<Activation> {
    let path = state_dir.join(super::FOLDER).join(super::store::ACTIVATION);
    let text = files::read_stable(&path, MAX_FILE_SIZE as u64).ok()?;
    Activation::parse(&text).ok()
}

impl Activation {
    /// The text of the file.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(&Written {
            version: VERSION,
            activation: self.clone(),
        })?;
        text.push('\n');
        Ok(text)
    }

    /// Reads the text of the file. The name of the profile becomes that of a file, so it must be fit for it.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let Written { activation, .. } = state::parse(text, VERSION)?;
        match ServerName::new(&activation.profile) {
            Ok(_) => Ok(activation),
            Err(error) => Err(Fault::Broken(format!("the name of a profile {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(
        profile: &str,
        by: ChosenBy,
        variable: Option<&str>,
        key: Option<&str>,
    ) -> Activation {
        Activation {
            profile: profile.to_owned(),
            by,
            variable: variable.map(str::to_owned),
            key: key.map(str::to_owned),
        }
    }

    #[test]
    fn without_an_activation_the_variable_wins_over_the_key() {
        for (variable, key, active) in [
            (Some("v"), Some("k"), Some(("v", ChosenBy::Variable))),
            (None, Some("k"), Some(("k", ChosenBy::Key))),
            (None, None, None),
        ] {
            let chosen = active_profile(None, variable, key);
            let expected = active.map(|(profile, by)| stored(profile, by, variable, key));
            assert_eq!(chosen, expected);
        }
    }

    #[test]
    fn what_changed_last_is_right() {
        use ChosenBy::{Activation, Key, Variable};
        let by_hand = |variable, key| stored("a", Activation, variable, key);
        let v = Some("v");
        let k = Some("k");
        let n = Some("n");
        #[rustfmt::skip]
        let table = [
            // What was stored, the variable now, the key now, and what is active.
            (by_hand(None, None), None, None, Some(("a", Activation))),
            (by_hand(v, k), v, k, Some(("a", Activation))),
            (by_hand(v, k), n, k, Some(("n", Variable))),
            (by_hand(v, k), v, n, Some(("n", Key))),
            (by_hand(v, k), n, Some("m"), Some(("n", Variable))),
            (by_hand(None, None), None, k, Some(("k", Key))),
            // What is no longer said takes nothing from what somebody activated.
            (by_hand(v, k), None, k, Some(("a", Activation))),
            (by_hand(v, k), None, None, Some(("a", Activation))),
            // But it takes with it what it chose itself.
            (stored("v", Variable, v, k), None, k, Some(("k", Key))),
            (stored("v", Variable, v, None), None, None, None),
            (stored("k", Key, v, k), v, None, Some(("v", Variable))),
            (stored("k", Key, None, k), None, None, None),
            // The other one may say what it likes, as long as it says the same.
            (stored("v", Variable, v, k), v, k, Some(("v", Variable))),
            (stored("k", Key, v, k), v, k, Some(("k", Key))),
            (stored("v", Variable, v, k), v, None, Some(("v", Variable))),
            (stored("k", Key, v, k), None, k, Some(("k", Key))),
        ];
        for (before, variable, key, active) in table {
            let chosen = active_profile(Some(&before), variable, key);
            let expected = active.map(|(profile, by)| stored(profile, by, variable, key));
            assert_eq!(chosen, expected, "after {before:?}");
        }
    }

    #[test]
    fn an_activation_is_read_as_it_was_written_and_never_leads_elsewhere() {
        let mut activation = stored("a", ChosenBy::Activation, Some("v"), None);
        let read = |activation: &Activation| Activation::parse(&activation.text().unwrap());
        assert_eq!(read(&activation), Ok(activation.clone()));
        activation.profile = "../a".to_owned();
        assert!(matches!(read(&activation), Err(Fault::Broken(_))));
    }

    fn said() -> impl Strategy<Value = Option<String>> {
        prop::option::of("[abc]")
    }

    fn activations() -> impl Strategy<Value = Activation> {
        let by = prop_oneof![
            Just(ChosenBy::Activation),
            Just(ChosenBy::Variable),
            Just(ChosenBy::Key)
        ];
        ("[abc]", by, said(), said()).prop_map(|(profile, by, variable, key)| Activation {
            profile,
            by,
            variable,
            key,
        })
    }

    proptest! {
        #[test]
        fn the_answer_stays_the_same_once_it_is_stored(
            before in prop::option::of(activations()),
            variable in said(),
            key in said(),
        ) {
            let first = active_profile(before.as_ref(), variable.as_deref(), key.as_deref());
            if first.is_some() {
                let again = active_profile(first.as_ref(), variable.as_deref(), key.as_deref());
                prop_assert_eq!(again, first);
            }
        }

        #[test]
        fn whoever_is_named_says_so(
            before in prop::option::of(activations()),
            variable in said(),
            key in said(),
        ) {
            let active = active_profile(before.as_ref(), variable.as_deref(), key.as_deref());
            match active {
                None => prop_assert!(variable.is_none() && key.is_none()),
                Some(active) => match active.by {
                    ChosenBy::Activation => {
                        prop_assert_eq!(Some(active.profile), before.map(|before| before.profile));
                    }
                    ChosenBy::Variable => prop_assert!(variable.is_some()),
                    ChosenBy::Key => prop_assert!(key.is_some()),
                },
            }
        }
    }
}
