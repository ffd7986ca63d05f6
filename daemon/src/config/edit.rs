//! Texts of profiles that magid writes for somebody: they stay his, with every comment of his.

use thiserror::Error;
use toml_edit::{DocumentMut, Item, TomlError, value};

use super::builtin::BUILTIN;
use crate::name::{NameError, ServerName};

/// Why a profile cannot have a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProfileNameError {
    /// It breaks a rule for names.
    #[error("the name of a profile {0}")]
    Name(NameError),
    /// It has a character that names of servers may have, and files on other systems may not.
    #[error("the name of a profile cannot contain ':'")]
    Colon,
    /// It is that of [`builtin()`](super::builtin()).
    #[error("a file cannot be the profile `{BUILTIN}`: magid has it without one")]
    Reserved,
}

/// Why a text cannot be edited: it is no TOML.
#[derive(Clone, Debug, Error)]
#[error("cannot edit a profile that is not valid TOML")]
pub struct EditError(#[from] TomlError);

/// Whether a file may be the profile `name`. A name that passes is safe as the stem of a file's name.
///
/// # Errors
///
/// Says which rule the name breaks.
pub fn check_profile_name(name: &str) -> Result<(), ProfileNameError> {
    ServerName::new(name).map_err(ProfileNameError::Name)?;
    if name.contains(':') {
        return Err(ProfileNameError::Colon);
    }
    if name == BUILTIN {
        return Err(ProfileNameError::Reserved);
    }
    Ok(())
}

/// The text of a profile without servers, which says how to go on.
pub fn new_profile(description: Option<&str>) -> String {
    let description = quoted(description.unwrap_or_default());
    format!(
        "\
# Which models are served, and how. Saving the file applies it if it is the active profile;
# `magictl plan` shows what that would do. All keys: docs/reference.md.
description = {description}

# For every server below that does not say it itself.
[defaults]
#ctx_size = 4096

# A server: remove the # and put in a model of yours, as `magictl models list` calls it.
#[servers.mine]
#model = \"qwen2.5-7b-instruct-q4_k_m\"
#aliases = [\"gpt-4o-mini\"]

# Or a server for every model that matches, named after it.
#[[select]]
#tier = \"fast\"
#limit = 2
#autostart = true
"
    )
}

/// The text of a profile with another description, and else as it is: comments, order, white space.
///
/// # Errors
///
/// The text is no TOML.
pub fn describe(text: &str, description: &str) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse()?;
    let Some(old) = document.get_mut("description") else {
        return Ok(with_first_line(
            text,
            &format!("description = {}\n", quoted(description)),
        ));
    };
    let mut new = value(description);
    if let (Item::Value(old), Item::Value(new)) = (&*old, &mut new) {
        *new.decor_mut() = old.decor().clone();
    }
    *old = new;
    Ok(document.to_string())
}

/// A text in quotes, as TOML has it.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// The text with a line of keys more: behind what heads the file, in front of all that is in it.
fn with_first_line(text: &str, line: &str) -> String {
    let (mark, text) = match text.strip_prefix('\u{feff}') {
        Some(text) => ("\u{feff}", text),
        None => ("", text),
    };
    let is_comment = |line: &&str| line.starts_with('#');
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let comments = lines.iter().copied().take_while(is_comment).count();
    // Comments right in front of something belong to that.
    let heads = lines
        .get(comments)
        .is_none_or(|next| next.trim().is_empty());
    let before = if heads {
        comments
    } else {
        let mut lines = lines.iter();
        lines.position(|line| !line.starts_with("#:")).unwrap_or(0)
    };
    let (head, rest) = lines.split_at(before);
    let mut head = head.concat();
    if !head.is_empty() && !head.ends_with('\n') {
        head.push('\n');
    }
    format!("{mark}{head}{line}{}", rest.concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(text: &str) -> String {
        describe(text, "new").unwrap()
    }

    #[test]
    fn only_the_description_changes() {
        let text =
            "# head\n\n# what for\ndescription = \"old\" # why\n\n[servers.a] # a\nmodel='m'\n";
        assert_eq!(described(text), text.replace("\"old\"", "\"new\""));
        let inline = "  description=\"\"\"a\nb\"\"\"\r\n[defaults]\n";
        assert_eq!(
            described(inline).replace('\r', ""),
            "  description=\"new\"\n[defaults]\n"
        );
    }

    #[test]
    fn a_description_that_was_not_there_stands_behind_the_head_of_the_file() {
        let line = "description = \"new\"\n";
        for (text, expected) in [
            ("", "@"),
            ("[servers.a]\n", "@[servers.a]\n"),
            ("# of a\n[servers.a]\n", "@# of a\n[servers.a]\n"),
            ("#:schema x\n# of a\n[a]\n", "#:schema x\n@# of a\n[a]\n"),
            (
                "#:schema x\n# head\n\n[a]\n",
                "#:schema x\n# head\n@\n[a]\n",
            ),
            ("# head", "# head\n@"),
            ("\u{feff}[a]\n", "\u{feff}@[a]\n"),
        ] {
            assert_eq!(described(text), expected.replace('@', line), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_is_not_edited() {
        assert!(describe("[servers.a\n", "x").is_err());
    }

    #[test]
    fn names_that_files_cannot_have_are_refused() {
        assert_eq!(check_profile_name("my-profile_2.5"), Ok(()));
        assert_eq!(check_profile_name("a:b"), Err(ProfileNameError::Colon));
        assert_eq!(
            check_profile_name("builtin"),
            Err(ProfileNameError::Reserved)
        );
        for name in ["", ".hidden", "../x", "a/b", "a b", "-x"] {
            let error = check_profile_name(name);
            assert!(matches!(error, Err(ProfileNameError::Name(_))), "{name}");
        }
    }

    fn description_of(text: &str) -> String {
        let table: toml::Table = toml::from_str(text).unwrap();
        table["description"].as_str().unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn any_description_is_what_it_says(description in any::<String>()) {
            let new = new_profile(Some(&description));
            prop_assert_eq!(description_of(&new), &*description);
            prop_assert_eq!(description_of(&describe(&new, "other").unwrap()), "other");
            let copy = describe("# head\n\n[servers.a]\nmodel = \"m\"\n", &description).unwrap();
            prop_assert_eq!(description_of(&copy), &*description);
        }
    }
}
