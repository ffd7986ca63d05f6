//! Reads the tables of a TOML file by key.
//!
//! A [`Table`] remembers which keys were asked for; what is left at the end is unknown. So the code
//! that reads a key is the only list of keys there is, and one pass finds every error of a file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{MAX_FILE_SIZE, Report, quote};
use super::value::Value;

/// What the parser says about a second `key =` or a second `[table]`.
const DUPLICATE: &str = "duplicate key";
/// What the parser says about a value that is no value.
const UNQUOTED: &str = "string values must be quoted";

/// So like a known key is an unknown one that was mistyped.
const SIMILAR: f64 = 0.8;

/// The largest text of which every syntax error is told, in bytes; of a larger one it is the first. The
/// parser keeps all that it finds, and a megabyte that is no TOML at all would take half a gigabyte.
const MAX_RECOVERED: usize = 64 * 1024;

/// The longest list.
const MAX_ITEMS: usize = 1000;

/// The most alternatives of a value. Each of them is compared with each model.
const MAX_ALTERNATIVES: usize = 100;

/// One table of a file, or an empty one that stands for a table that is not there.
pub(super) struct Table<'t> {
    /// What its header says, without brackets. Empty for the file itself.
    header: String,
    entries: Option<&'t DeTable<'t>>,
    asked: Vec<&'static str>,
}

/// One entry of a table whose keys are names.
pub(super) struct Entry<'t> {
    pub(super) key: &'t str,
    pub(super) key_span: Range<usize>,
    pub(super) value: &'t Spanned<DeValue<'t>>,
}

/// Parses `text`; every syntax error goes to `report`, or of a large text the first.
///
/// The tree is what could be made out. After an error that loses the parser's place it is empty:
/// all that could be said about it would be consequences.
pub(super) fn parse<'f>(text: &'f str, report: &mut Report<'_>) -> DeTable<'f> {
    if text.len() > MAX_FILE_SIZE {
        report.error(
            0..0,
            format!("cannot read a file of {} bytes", text.len()),
            format!("{MAX_FILE_SIZE} bytes are allowed"),
        );
        return DeTable::new();
    }
    let (tree, mut errors) = if text.len() <= MAX_RECOVERED {
        DeTable::parse_recoverable(text)
    } else {
        match DeTable::parse(text) {
            Ok(tree) => (tree, Vec::new()),
            Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
        }
    };
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    for error in &errors {
        if report.is_full() {
            break;
        }
        syntax_error(error, report);
    }
    let in_place = |error: &Error| {
        [DUPLICATE, UNQUOTED]
            .iter()
            .any(|m| error.message().starts_with(m))
    };
    if errors.iter().all(in_place) {
        tree.into_inner()
    } else {
        DeTable::new()
    }
}

fn syntax_error(error: &Error, report: &mut Report<'_>) {
    let span = error.span().unwrap_or_default();
    let quoted = report.quote(span.clone());
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let (message, help) = match what {
        DUPLICATE => (
            format!("cannot have `{quoted}` twice"),
            "keep one of the two".to_owned(),
        ),
        UNQUOTED if span.is_empty() => (
            "a value is missing".to_owned(),
            "write one behind the `=`".to_owned(),
        ),
        UNQUOTED => (
            format!("cannot read the value {quoted}"),
            format!("write a number, true or false, or text in quotes: \"{quoted}\""),
        ),
        what => (
            format!("cannot parse this: {what}"),
            match expected {
                Some("nothing") => "remove it".to_owned(),
                Some(expected) if expected.contains(", ") => format!("write one of {expected}"),
                Some(expected) => format!("write {expected}"),
                None => "mend the line".to_owned(),
            },
        ),
    };
    report.error(span.clone(), message, help);
    report.settle(span);
}

impl<'t> Table<'t> {
    /// The table with these entries.
    pub(super) fn new(entries: &'t DeTable<'t>) -> Self {
        Self {
            header: String::new(),
            entries: Some(entries),
            asked: Vec::new(),
        }
    }

    /// The table that `value` must be. What its header says is `header`.
    pub(super) fn at(
        header: &str,
        value: &'t Spanned<DeValue<'t>>,
        help: &str,
        report: &mut Report<'_>,
    ) -> Self {
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            wrong(&format!("`{header}` cannot be"), value, help, report);
        }
        Self {
            header: header.to_owned(),
            entries,
            asked: Vec::new(),
        }
    }

    /// The value of `key` as it stands.
    pub(super) fn raw(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        #[cfg(test)]
        asked::note(&self.header, key);
        self.entries?.get(key)
    }

    /// The value of `key`.
    pub(super) fn get<T: Value>(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Spanned<T>> {
        read(&format!("`{key}` cannot be"), self.raw(key)?, report)
    }

    /// The values of the array at `key`; those that are wrong are reported and left out.
    pub(super) fn list<T: Value>(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.raw(key)?;
        let Some(array) = value.get_ref().as_array() else {
            let help = format!("write a list: {key} = [\u{2026}]");
            wrong(&format!("`{key}` cannot be"), value, &help, report);
            return None;
        };
        if let Some(item) = array.get(MAX_ITEMS) {
            report.error(
                item.span(),
                format!("`{key}` cannot have {} items", array.len()),
                format!("{MAX_ITEMS} are allowed"),
            );
            return None;
        }
        let context = format!("`{key}` cannot contain");
        Some(
            array
                .iter()
                .filter_map(|item| read(&context, item, report))
                .collect(),
        )
    }

    /// The values of `key`, which may be one or several in a list. Empty: there is no such key.
    pub(super) fn alternatives<T: Value>(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Vec<T> {
        let Some(value) = self.raw(key) else {
            return Vec::new();
        };
        let values = match value.get_ref().as_array() {
            Some(items) if (1..=MAX_ALTERNATIVES).contains(&items.len()) => {
                let context = format!("`{key}` cannot contain");
                let items = items.iter();
                items
                    .filter_map(|item| read(&context, item, report))
                    .collect()
            }
            Some(items) => {
                report.error(
                    value.span(),
                    format!("`{key}` cannot have {} items", items.len()),
                    format!("write 1 to {MAX_ALTERNATIVES}, or leave the key out"),
                );
                Vec::new()
            }
            None => Vec::from_iter(read(&format!("`{key}` cannot be"), value, report)),
        };
        values.into_iter().map(Spanned::into_inner).collect()
    }

    /// The table at `key`.
    pub(super) fn table(&mut self, key: &'static str, report: &mut Report<'_>) -> Table<'t> {
        let value = self.raw(key);
        let entries = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, entries) {
            let help = format!("write a table: {key} = {{ \u{2026} }}");
            wrong(&format!("`{key}` cannot be"), value, &help, report);
        }
        let header = match &*self.header {
            "" => key.to_owned(),
            parent => format!("{parent}.{key}"),
        };
        Self {
            header,
            entries,
            asked: Vec::new(),
        }
    }

    /// All entries, in the order of the file.
    pub(super) fn entries(&self) -> Vec<Entry<'t>> {
        let mut entries: Vec<_> = self
            .entries
            .into_iter()
            .flatten()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                key_span: key.span(),
                value,
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        entries
    }

    /// The entries whose keys nobody asked for.
    pub(super) fn unknown(&self) -> Vec<Entry<'t>> {
        let mut entries = self.entries();
        entries.retain(|entry| !self.asked.contains(&entry.key));
        entries
    }

    /// The known key that `key` was meant to be.
    pub(super) fn similar(&self, key: &str) -> Option<&'static str> {
        let key = key.to_ascii_lowercase().replace('-', "_");
        let rated = self
            .asked
            .iter()
            .map(|&known| (strsim::jaro_winkler(known, &key), known));
        let (likeness, known) = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (likeness >= SIMILAR).then_some(known)
    }

    fn place(&self) -> String {
        match &*self.header {
            "" => "here".to_owned(),
            header => format!("in [{header}]"),
        }
    }

    /// Reports every entry that nobody asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for entry in self.unknown() {
            let help = match self.similar(entry.key) {
                Some(known) => format!("write `{known}`"),
                None => format!(
                    "remove it; known {}: {}",
                    self.place(),
                    self.asked.join(", ")
                ),
            };
            unknown_key(&entry, help, report);
        }
    }
}

/// Reports a key that does not exist.
pub(super) fn unknown_key(entry: &Entry<'_>, help: String, report: &mut Report<'_>) {
    report.error(
        entry.key_span.clone(),
        format!("unknown key `{}`", quote(entry.key)),
        help,
    );
}

/// Reads one value. A message about it begins with `context`.
pub(super) fn read<T: Value>(
    context: &str,
    value: &Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) -> Option<Spanned<T>> {
    let nul = value
        .get_ref()
        .as_str()
        .is_some_and(|text| text.contains('\0'));
    match T::read(value.get_ref()).filter(|_| !nul) {
        Some(read) => Some(Spanned::new(value.span(), read)),
        None => {
            wrong(context, value, &format!("write {}", T::EXPECTED), report);
            None
        }
    }
}

/// Reports a value of the wrong kind.
pub(super) fn wrong(
    context: &str,
    value: &Spanned<DeValue<'_>>,
    help: &str,
    report: &mut Report<'_>,
) {
    let what = match value.get_ref() {
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
            "a list of tables".to_owned()
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => report.quote(value.span()),
    };
    report.error(value.span(), format!("{context} {what}"), help);
}

/// Which keys of which tables were asked for in this thread: those that the reference must have.
#[cfg(test)]
pub(super) mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    type Asked = BTreeSet<(String, String)>;

    thread_local! {
        static ASKED: RefCell<Asked> = const { RefCell::new(Asked::new()) };
    }

    pub(super) fn note(header: &str, key: &str) {
        ASKED.with_borrow_mut(|asked| asked.insert((header.to_owned(), key.to_owned())));
    }

    /// The headers and keys that `read` asks for.
    pub(in crate::config) fn by(read: impl FnOnce()) -> Asked {
        ASKED.take();
        read();
        ASKED.take()
    }
}
