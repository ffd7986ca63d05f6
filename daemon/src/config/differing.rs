//! Which keys of two texts differ.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The keys, dotted, that have another value in `now` than in `then`, or are in one only. A text that cannot be
/// parsed has no keys.
pub fn differing_keys(then: &str, now: &str) -> Vec<String> {
    let [then, now] = [then, now].map(|text| flat(&text.parse().unwrap_or_default()));
    let mut keys: Vec<String> = then.keys().chain(now.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| then.get(key) != now.get(key));
    keys
}

fn flat(table: &Table) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flat(inner).into_iter();
                all.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_what_they_say_and_not_by_how_it_is_written() {
        let then = "active_profile = \"a\"\n[logs]\nkeep = 5\nmax_size = 1\n";
        let now = "logs = { max_size = 1 }\nactive_profile = 'a' # a\n[memory]\nram = 1\n";
        assert_eq!(differing_keys(then, now), ["logs.keep", "memory.ram"]);
        assert_eq!(
            differing_keys(then, "["),
            ["active_profile", "logs.keep", "logs.max_size"]
        );
    }
}
