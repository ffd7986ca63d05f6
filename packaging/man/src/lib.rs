//! Man pages, made of what the code says of itself. Only tests use this: each of them writes its pages
//! to `docs/man` when `REGENERATE` is set, and else fails if one is not what would be written.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

/// The name that the pages have in common.
const MANUAL: &str = "magi";

/// In place of a date: the same code makes the same page on any day.
const NO_DATE: &str = " ";

/// One page: sections with a heading, paragraphs, and terms that are told about. In texts `this` is
/// bold.
#[derive(Debug)]
pub struct Page {
    file: String,
    begun: Vec<u8>,
    roff: Roff,
}

impl Page {
    /// The page of a program or of one of its commands, with all that its command line takes.
    pub fn of_program(command: Command, section: &str) -> Self {
        // What clap would call extra has headings of its own, from [`Self::section`].
        let command = command
            .after_help(Resettable::Reset)
            .after_long_help(Resettable::Reset);
        let version = format!("magi {}", env!("CARGO_PKG_VERSION"));
        let man = Man::new(command)
            .section(section)
            .date(NO_DATE)
            .source(version)
            .manual(MANUAL);
        let mut begun = Vec::new();
        // Nothing fails that writes to memory.
        man.render(&mut begun).unwrap_or_default();
        Self {
            file: man.get_filename(),
            begun,
            roff: Roff::new(),
        }
    }

    /// The page of a program first, then those of its commands and of theirs.
    pub fn of_commands(command: Command, section: &str) -> Vec<Self> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let mut pages = Vec::new();
        collect(&command, section, &mut pages);
        pages
    }

    /// The page of a file, of which `about` says in a few words what it is.
    pub fn of_file(name: &str, about: &str) -> Self {
        let version = format!("magi {}", env!("CARGO_PKG_VERSION"));
        let mut roff = Roff::new();
        roff.control("TH", [name, "5", NO_DATE, &version, MANUAL]);
        roff.control("SH", ["NAME"]);
        roff.text([roman(format!("{name} - {about}"))]);
        Self {
            file: format!("{name}.5"),
            begun: Vec::new(),
            roff,
        }
    }

    /// Begins a section.
    pub fn section(&mut self, heading: &str) -> &mut Self {
        self.roff.control("SH", [heading]);
        self
    }

    /// Begins a part of a section.
    pub fn part(&mut self, heading: &str) -> &mut Self {
        self.roff.control("SS", [heading]);
        self
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.roff.control("PP", []).text(inlines(text));
        self
    }

    /// Adds a term and what there is to say about it, a paragraph each.
    pub fn term(&mut self, term: &str, about: &[&str]) -> &mut Self {
        self.roff.control("TP", []).text([bold(term)]);
        for (index, text) in about.iter().enumerate() {
            if index > 0 {
                self.roff.control("br", []);
            }
            self.roff.text(inlines(text));
        }
        self
    }

    /// Adds the section that names other pages.
    pub fn see_also(&mut self, pages: &[&str]) -> &mut Self {
        self.section("SEE ALSO");
        let named: Vec<_> = pages.iter().map(|page| reference(page)).collect();
        self.paragraph(&named.join(", "))
    }

    /// The page as it is read by `man`.
    pub fn text(&self) -> String {
        let begun = String::from_utf8_lossy(&self.begun).into_owned();
        let added = self.roff.render();
        if begun.is_empty() {
            return added;
        }
        // Both begin with the same definitions.
        let preamble = Roff::new().render();
        begun + added.strip_prefix(&preamble).unwrap_or(&added)
    }

    /// Holds what is kept in `docs/man` to this.
    ///
    /// # Panics
    ///
    /// If it differs, or cannot be written.
    pub fn keep(&self) {
        let path = folder().join(&self.file);
        if std::env::var_os("REGENERATE").is_some() {
            fs::write(&path, self.text()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == self.text(),
            "docs/man/{} is out of date: run `cargo xtask generate`",
            self.file
        );
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// Where the pages are kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man")
}

fn collect(command: &Command, section: &str, pages: &mut Vec<Page>) {
    pages.push(Page::of_program(command.clone(), section));
    for inner in command.get_subcommands() {
        collect(inner, section, pages);
    }
}

/// `magid(8)`, with the name in bold.
fn reference(page: &str) -> String {
    match page.split_once('(') {
        Some((name, section)) => format!("`{name}`({section}"),
        None => format!("`{page}`"),
    }
}

/// What is between backticks is bold.
fn inlines(text: &str) -> Vec<Inline> {
    let mut parts = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            parts.push(bold(part));
        } else {
            parts.push(roman(part));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_backticks_is_bold_and_nothing_is_a_command_by_accident() {
        let mut page = Page::of_file("x.toml", "a file");
        page.section("KEYS")
            .term("key", &[".start of a `line`", "more"]);
        let text = page.text();
        assert!(text.contains(".TH x.toml 5 \" \" \"magi "), "{text}");
        assert!(
            text.contains(".TP\n\\fBkey\\fR\n\\&.start of a \\fBline\\fR\n.br\nmore"),
            "{text}"
        );
    }

    #[test]
    fn a_program_has_its_options_and_what_is_added() {
        let command = Command::new("x")
            .about("Does")
            .arg(clap::arg!(--level <N>))
            .after_help("lost");
        let mut page = Page::of_program(command, "8");
        page.section("FILES").see_also(&["magid(8)"]);
        let text = page.text();
        assert_eq!(page.file(), "x.8");
        for part in [
            "x \\- Does",
            "\\fB\\-\\-level\\fR",
            ".SH FILES",
            "\\fBmagid\\fR(8)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches(".TH").count(), 1);
        assert!(!text.contains("EXTRA"), "{text}");
    }

    #[test]
    fn each_command_has_a_page_of_its_own() {
        let inner = Command::new("y")
            .about("Does")
            .subcommand(Command::new("z"));
        let pages = Page::of_commands(Command::new("x").subcommand(inner), "1");
        let files: Vec<_> = pages.iter().map(Page::file).collect();
        assert_eq!(files, ["x.1", "x-y.1", "x-y-z.1"]);
        assert!(
            pages[2].text().contains("\\fBx y z\\fR"),
            "{}",
            pages[2].text()
        );
    }
}
