//! Tables without borders that fit the terminal.
//!
//! A column is as wide as its widest cell. If that is too wide for the terminal, the widest of the
//! columns that may shrink gives way, one character at a time. A last column of prose is wrapped
//! instead, and so are the lines below a row: what explains a problem is never cut.

use super::colour::Colour;
use super::text::{cut, printable, wrap};

const GAP: usize = 2;
/// The narrowest that a column of prose gets.
const MIN_PROSE: usize = 16;

/// How a column behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Never cut.
    Whole,
    /// Like `Whole`, with its numbers to the right.
    Number,
    /// Cut down to this many characters where needed.
    Cut(usize),
    /// Wrapped. Only for the last column.
    Prose,
}

/// A text and its colour.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// A cell in this colour.
    pub(crate) fn coloured(text: &str, colour: Option<Colour>) -> Self {
        Self {
            text: printable(text),
            colour,
        }
    }
}

impl<T: ToString> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(
            || Self::from("-"),
            |value| Self::from(value.to_string().as_str()),
        )
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::coloured(text, None)
    }
}

/// Rows under titles.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Fit); N],
    rows: Vec<Row<N>>,
}

#[derive(Debug)]
struct Row<const N: usize> {
    cells: [Cell; N],
    below: Vec<Cell>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) fn new(columns: [(&'static str, Fit); N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, with lines of explanation below it.
    pub(crate) fn row(&mut self, cells: [Cell; N], below: Vec<Cell>) {
        self.rows.push(Row { cells, below });
    }

    /// The lines of the table, none wider than `width`.
    pub(crate) fn render(&self, width: usize, colours: bool) -> Vec<String> {
        let widths = self.widths(width);
        let titles = self.columns.map(|(title, _)| Cell::from(title));
        let mut lines = self.render_cells(&titles, &widths, width, colours);
        for row in &self.rows {
            lines.extend(self.render_cells(&row.cells, &widths, width, colours));
            for note in &row.below {
                let indent = " ".repeat(4.min(width.saturating_sub(1)));
                let wrapped = wrap(&note.text, width.saturating_sub(indent.len()));
                lines.extend(
                    wrapped
                        .iter()
                        .map(|line| format!("{indent}{}", paint(line, note.colour, colours))),
                );
            }
        }
        lines
    }

    /// How wide each column is in a table of `width` characters.
    fn widths(&self, width: usize) -> [usize; N] {
        let mut widths: [usize; N] = std::array::from_fn(|column| {
            let cells = self
                .rows
                .iter()
                .map(|row| row.cells[column].text.chars().count());
            cells
                .chain([self.columns[column].0.len()])
                .max()
                .unwrap_or(0)
        });
        let gaps = GAP * N.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let widest = (0..N)
                .filter(|&column| widths[column] > self.narrowest(column))
                .max_by_key(|&column| widths[column]);
            let Some(column) = widest else { break };
            widths[column] -= 1;
        }
        widths
    }

    fn narrowest(&self, column: usize) -> usize {
        match self.columns[column].1 {
            Fit::Whole | Fit::Number => usize::MAX,
            Fit::Cut(min) => min,
            Fit::Prose => MIN_PROSE,
        }
    }

    /// One row, in as many lines as its prose needs.
    fn render_cells(
        &self,
        cells: &[Cell; N],
        widths: &[usize; N],
        width: usize,
        colours: bool,
    ) -> Vec<String> {
        let mut line = Line::new(width, colours);
        let mut rest = Vec::new();
        for (column, cell) in cells.iter().enumerate() {
            let of = widths[column];
            match self.columns[column].1 {
                Fit::Whole | Fit::Cut(_) => line.push(&cut(&cell.text, of), of, cell.colour),
                Fit::Number => line.push(&format!("{:>of$}", cell.text), of, cell.colour),
                Fit::Prose => {
                    let mut wrapped = wrap(&cell.text, of).into_iter();
                    line.push(&wrapped.next().unwrap_or_default(), of, cell.colour);
                    let indent = " ".repeat(widths[..column].iter().sum::<usize>() + GAP * column);
                    rest.extend(wrapped.map(|more| cut(&format!("{indent}{more}"), width)));
                }
            }
        }
        let mut lines = vec![line.text];
        lines.extend(rest);
        lines
    }
}

/// A line that grows by cells and never beyond its width. Colours take no room.
struct Line {
    text: String,
    /// Spaces that are due before the next cell; the last cell gets none.
    padding: usize,
    room: usize,
    colours: bool,
}

impl Line {
    fn new(width: usize, colours: bool) -> Self {
        Self {
            text: String::new(),
            padding: 0,
            room: width,
            colours,
        }
    }

    fn push(&mut self, text: &str, width: usize, colour: Option<Colour>) {
        if self.room <= self.padding {
            self.room = 0;
            return;
        }
        let room = self.room - self.padding;
        let shown = cut(text, room);
        if !shown.is_empty() {
            self.text.push_str(&" ".repeat(self.padding));
            self.text.push_str(&paint(&shown, colour, self.colours));
            self.padding = 0;
            self.room = room;
        }
        let length = shown.chars().count();
        self.room -= length.min(self.room);
        self.padding += width.saturating_sub(length) + GAP;
    }
}

fn paint(text: &str, colour: Option<Colour>, colours: bool) -> String {
    match colour {
        Some(colour) if colours => colour.paint(text),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: [(&str, Fit); 3] = [
        ("NAME", Fit::Cut(8)),
        ("PID", Fit::Number),
        ("WHY", Fit::Prose),
    ];

    fn table(name: &str, pid: u32, why: &str, below: &str) -> Table<3> {
        let mut table = Table::new(COLUMNS);
        let below = vec![Cell::coloured(below, Some(Colour::Red))];
        table.row([name.into(), Some(pid).into(), why.into()], below);
        table
    }

    #[test]
    fn names_are_cut_and_prose_is_wrapped() {
        let table = table(
            "a-very-long-name-of-a-server",
            7,
            "ctx_size changed: 4096 -> 8192",
            "model-missing: /models/x.gguf is not there",
        );
        insta::assert_snapshot!(table.render(40, false).join("\n"), @"
        NAME               PID  WHY
        a-very-long-name…    7  ctx_size
                                changed: 4096 ->
                                8192
            model-missing: /models/x.gguf is not
            there
        ");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = table("a", 1, "why", "note").render(80, false).join("\n");
        let coloured = table("a", 1, "why", "note").render(80, true).join("\n");
        assert_ne!(plain, coloured);
        assert_eq!(crate::output::text::printable_lines(&coloured), plain);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            name in "\\PC{0,90}",
            pid: u32,
            why in "\\PC{0,200}",
            below in ".{0,200}",
            width in 1usize..200,
        ) {
            for line in table(&name, pid, &why, &below).render(width, false) {
                prop_assert!(line.chars().count() <= width, "{:?}", line);
            }
        }
    }
}
