//! Every key of every file, told to people and to editors.
//!
//! The tables here say what each key is for; what is read and how is up to the readers. Tests hold
//! the two together: a key that is read must be here and the reverse, each default must be the one in
//! the code, each example must be read. `docs/reference.md`, `docs/man/*.5` and `config/schema/*.json` are
//! made of the tables by `cargo xtask generate`. magid itself has no use for them, so they are built with the
//! tests only.

mod gateway;
mod json;
mod magid;
mod man;
mod markdown;
mod profile;

pub(super) use gateway::GATEWAY;
pub(super) use json::json_schema;
pub(super) use magid::MAGID;
pub(super) use man::pages;
pub(super) use markdown::page;
pub(super) use profile::PROFILE;

use super::settings;

/// A file.
pub(super) struct File {
    /// What it is, in a word.
    pub(super) title: &'static str,
    /// What it is for.
    pub(super) about: &'static str,
    /// Its tables; the first is the file itself.
    pub(super) tables: &'static [Table],
}

/// A table of a file.
pub(super) struct Table {
    pub(super) place: Place,
    /// What it is for.
    pub(super) about: &'static str,
    /// Its keys, in groups that several tables may share.
    pub(super) groups: &'static [&'static [Key]],
}

/// Where a table is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the file itself.
    Root,
    /// It has this header.
    Header(&'static str),
    /// There are tables with this header and a name of the user's.
    Named(&'static str),
    /// There may be several with this header.
    Repeated(&'static str),
    /// It is the value of this key wherever there is one of the kind [`Kind::Restart`].
    Value(&'static str),
}

/// A key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What a number counts. Empty if the value says so itself.
    pub(super) unit: &'static str,
    pub(super) default: Fallback,
    /// What it is for: one sentence.
    pub(super) about: &'static str,
    /// A value that is not the default, in TOML.
    pub(super) example: &'static str,
}

/// What holds where a key is not written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// This value, in TOML.
    Toml(&'static str),
    /// What this sentence says.
    Said(&'static str),
    /// The key must be written.
    Required,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Boolean,
    Text,
    Path,
    ProfileName,
    Alias,
    Address,
    Port,
    PortRange,
    /// A whole number, from the first to the second.
    Integer(i64, i64),
    /// A time; true: above zero.
    Time(bool),
    Size,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A pattern of names.
    Glob,
    /// Any number of these.
    List(&'static Kind),
    /// One of these or several in a list.
    OneOrList(&'static Kind),
    /// Either.
    Either(&'static Kind, &'static Kind),
    /// A table with names of the user's.
    Map(&'static Kind),
    /// The table of [`Place::Value`].
    Restart,
    /// What [`settings::KEYS`] says.
    Flag,
}

/// All that a number with 32 bits without a sign can be.
pub(super) const U32: Kind = Kind::Integer(0, u32::MAX as i64);

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: Fallback,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        kind,
        unit: "",
        default,
        about,
        example,
    }
}

/// A key that is a flag of llama-server.
const fn flag(name: &'static str, example: &'static str, about: &'static str) -> Key {
    let default = Fallback::Said("llama-server's own");
    key(name, Kind::Flag, default, example, about)
}

impl Key {
    pub(super) const fn counts(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// A key whose value follows from the model where it is not written.
    pub(super) const fn follows(self, what: &'static str) -> Self {
        let default = Fallback::Said(what);
        Self { default, ..self }
    }

    /// What llama-server's flag of this name takes.
    fn setting(&self) -> &'static settings::Kind {
        let mut keys = settings::KEYS.iter();
        let key = keys.find(|key| key.name == self.name);
        &key.expect("a key of the kind Flag is one of llama-server's")
            .kind
    }
}

impl Table {
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.groups.iter().copied().flatten()
    }
}

impl Place {
    /// The header without brackets; a name of the user's is `NAME`.
    pub(super) fn header(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Header(header) | Self::Repeated(header) | Self::Value(header) => {
                header.to_owned()
            }
            Self::Named(header) => format!("{header}.NAME"),
        }
    }
}
