//! What must hold whatever a client sends.
//!
//! Each function takes any bytes and panics if a promise is broken. `fuzz/` has libFuzzer make them up
//! (`cargo xtask fuzz`); the tests make up a bounded number of them.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::body::{self, BodyError};

/// A body asks for the same as it does for `serde_json`, or is refused.
pub fn request_body(data: &[u8]) {
    let theirs: Result<Members, _> = serde_json::from_slice(data);
    match (body::find(data), theirs) {
        (Ok(asked), Ok(members)) => {
            assert_eq!(
                members.all("model"),
                Vec::from_iter(asked.model.map(|model| Value::from(&*model))),
            );
            let stream = members.all("stream");
            assert!(stream.len() < 2);
            assert_eq!(asked.stream, stream == [Value::Bool(true)]);
        }
        // How large a number may be is the business of whom it is for.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("number out of range")),
        (Err(BodyError::DuplicateModel), Ok(members)) => {
            assert!(members.all("model").len() > 1);
        }
        (Err(BodyError::DuplicateStream), Ok(members)) => {
            assert!(members.all("stream").len() > 1);
        }
        (Err(BodyError::ModelNotAString), Ok(members)) => {
            assert!(!members.all("model").iter().all(Value::is_string));
        }
        (Err(BodyError::InvalidJson { .. }), Ok(_)) => panic!("it is JSON"),
        (Err(_), Err(_)) => {}
    }
}

/// The members of an object, duplicates and all.
struct Members(Vec<(String, Value)>);

impl Members {
    fn all(&self, name: &str) -> Vec<Value> {
        let named = self.0.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.clone()).collect()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// What bodies are made of.
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\"model\"",
        "\"stream\"",
        "\"mod\\u0065l\"",
        "\"a\"",
        "\"",
        "\\",
        "\\u",
        "\\ud83d\\ude00",
        "\\ud800",
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1e5",
        "1e999",
        ".5",
        "\n",
        "\u{e4}",
        "\u{feff}",
        "\u{0}",
        "{\"model\":\"b\"}",
        "[[],{}]",
    ];

    fn body() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(PIECES);
        let anything = prop::collection::vec(piece.clone(), 0..30).prop_map(|all| all.concat());
        let value = prop_oneof![
            Just("\"x\"".to_owned()),
            Just("true".to_owned()),
            Just("[{\"model\":1}]".to_owned()),
            piece.prop_map(str::to_owned),
        ];
        let name = prop::sample::select(&["model", "stream", "m\\u006fdel", "messages"]);
        let member = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        let members = prop::collection::vec(member, 0..4);
        prop_oneof![
            anything,
            members.prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_body_is_read_as_others_read_it(body in body()) {
            super::request_body(body.as_bytes());
        }
    }
}
