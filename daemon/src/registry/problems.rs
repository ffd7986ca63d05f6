//! What people should know of a scan, a line each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::absence::cannot_look;
use super::choose::Left;
use super::look::Look;
use crate::text::one_line;

/// How many lines there are of one kind.
const LINES: usize = 100;

/// What a scan could not look at, and the files that are no models. `held` are the places that keep
/// models from being served.
pub(super) fn problems(
    looks: &[Look],
    held: &BTreeMap<PathBuf, (String, usize)>,
    left: &BTreeMap<PathBuf, Left>,
) -> Vec<String> {
    let mut places: BTreeMap<&Path, String> = BTreeMap::new();
    for look in looks {
        for (place, why) in &look.blocked {
            if !look.is_missing || look.root.written_down {
                places.insert(place, cannot_look(place, why));
            }
        }
    }
    for (place, (reason, models)) in held {
        let is_file = left.contains_key(place);
        if !is_file {
            let models = match models {
                1 => "1 model is".to_owned(),
                models => format!("{models} models are"),
            };
            places.insert(place, format!("{reason}; {models} unavailable"));
        }
    }
    let mut lines = few(places.into_values());
    let broken = left.iter().filter_map(|(path, left)| match left {
        Left::Broken(why) => Some(format!("cannot use {}: {why}", path.display())),
        Left::Unsettled | Left::Twin(_) | Left::Part(_) => None,
    });
    lines.extend(few(broken));
    lines
}

/// The first lines, and how many more there are.
fn few(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines = lines.map(|line| one_line(&line));
    let mut few: Vec<_> = lines.by_ref().take(LINES).collect();
    match lines.count() {
        0 => {}
        more => few.push(format!("{more} more of this kind")),
    }
    few
}
