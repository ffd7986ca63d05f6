//! What looks like a secret, and is therefore not shown.

/// What a name is called that holds a secret.
const SECRETS: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];

/// What is shown in the place of one.
pub(crate) const HIDDEN: &str = "***";

/// Whether a variable, a key or a flag of this name holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // `--tokens`, `--token-embd` and the like are about words, not about secrets.
    let about_words = name.contains("TOKENS") || name.contains("TOKENIZ");
    !about_words && SECRETS.iter().any(|secret| name.contains(secret))
}

/// Hides the value if the name says that it is secret.
pub(crate) fn hide_secret((name, value): (String, String)) -> (String, String) {
    let hidden = is_secret(&name);
    (name, if hidden { HIDDEN.to_owned() } else { value })
}

/// Hides the values of flags whose names say that they are secret.
pub(crate) fn hide_secrets(line: Vec<String>) -> Vec<String> {
    let mut hide_next = false;
    line.into_iter()
        .map(|word| {
            let hidden = std::mem::take(&mut hide_next);
            if !word.starts_with('-') {
                return if hidden { HIDDEN.to_owned() } else { word };
            }
            match word.split_once('=') {
                Some((flag, _)) if is_secret(flag) => format!("{flag}={HIDDEN}"),
                Some(_) => word,
                None => {
                    hide_next = is_secret(&word);
                    word
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_command_line_are_hidden() {
        let line = [
            "x",
            "--ctx-size",
            "1",
            "--ssl-key-file",
            "/k",
            "--api-key=s",
            "--hf-token",
            "t",
        ];
        let shown = hide_secrets(line.map(str::to_owned).to_vec());
        assert_eq!(
            shown,
            [
                "x",
                "--ctx-size",
                "1",
                "--ssl-key-file",
                "***",
                "--api-key=***",
                "--hf-token",
                "***"
            ]
        );
    }
}
