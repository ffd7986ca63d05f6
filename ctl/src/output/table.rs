//! Tables without borders that fit the terminal.
//!
//! A column is as wide as its widest cell. If that is too wide for the terminal, the widest of the
//! columns that may shrink gives way, one character at a time. A last column of prose is wrapped
//! instead, and so are the lines below a row: what explains a problem is never cut. Columns that can
//! be spared are left out before anything is cut, the last one first; those that are only for what not
//! everybody has, also where nobody has it.

use super::colour::Colour;
use super::text::{cut, printable, wrap};

const GAP: usize = 2;
/// The narrowest that a column of prose gets.
const MIN_PROSE: usize = 16;

/// What stands in a cell that has nothing in it.
const NOTHING: &str = "-";

/// How a column behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Never cut.
    Whole,
    /// Like `Whole`, with its numbers to the right.
    Number,
    /// Cut down to this many characters where needed.
    Cut(usize),
    /// Like `Number`, and left out where the table is too wide with it. Never the first column.
    Spare,
    /// Like `Spare`, and left out where no row has anything in it.
    Rare,
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
            || Self::from(NOTHING),
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

    /// The titles of the columns that [`Table::render`] leaves out at this width.
    pub(crate) fn left_out(&self, width: usize) -> Vec<&'static str> {
        let widths = self.widths(width);
        let columns = self.columns.iter().zip(widths);
        columns
            .filter_map(|(&(title, _), width)| width.is_none().then_some(title))
            .collect()
    }

    /// How wide each column is in a table of `width` characters; absent if it is left out.
    fn widths(&self, width: usize) -> [Option<usize>; N] {
        let mut widths = std::array::from_fn(|column| Some(self.widest_cell(column)));
        for column in (0..N).rev() {
            let is_spared = match self.columns[column].1 {
                Fit::Spare => total(&widths) > width,
                Fit::Rare => total(&widths) > width || self.is_empty(column),
                Fit::Whole | Fit::Number | Fit::Cut(_) | Fit::Prose => false,
            };
            if is_spared {
                widths[column] = None;
            }
        }
        while total(&widths) > width {
            let shrinkable = widths.iter_mut().enumerate().filter_map(|(column, width)| {
                let width = width.as_mut()?;
                (*width > self.narrowest(column)).then_some(width)
            });
            match shrinkable.max_by_key(|width| **width) {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }

    fn is_empty(&self, column: usize) -> bool {
        self.rows
            .iter()
            .all(|row| row.cells[column].text == NOTHING)
    }

    fn widest_cell(&self, column: usize) -> usize {
        let cells = self
            .rows
            .iter()
            .map(|row| row.cells[column].text.chars().count());
        cells
            .chain([self.columns[column].0.len()])
            .max()
            .unwrap_or(0)
    }

    fn narrowest(&self, column: usize) -> usize {
        match self.columns[column].1 {
            Fit::Whole | Fit::Number | Fit::Spare | Fit::Rare => usize::MAX,
            Fit::Cut(min) => min,
            Fit::Prose => MIN_PROSE,
        }
    }

    /// One row, in as many lines as its prose needs.
    fn render_cells(
        &self,
        cells: &[Cell; N],
        widths: &[Option<usize>; N],
        width: usize,
        colours: bool,
    ) -> Vec<String> {
        let mut line = Line::new(width, colours);
        let mut rest = Vec::new();
        for (column, cell) in cells.iter().enumerate() {
            let Some(of) = widths[column] else { continue };
            match self.columns[column].1 {
                Fit::Whole | Fit::Cut(_) => line.push(&cut(&cell.text, of), of, cell.colour),
                Fit::Number | Fit::Spare | Fit::Rare => {
                    line.push(&format!("{:>of$}", cell.text), of, cell.colour)
                }
                Fit::Prose => {
                    let mut wrapped = wrap(&cell.text, of).into_iter();
                    line.push(&wrapped.next().unwrap_or_default(), of, cell.colour);
                    let before = widths[..column].iter().flatten();
                    let indent = " ".repeat(before.map(|width| width + GAP).sum());
                    rest.extend(wrapped.map(|more| cut(&format!("{indent}{more}"), width)));
                }
            }
        }
        let mut lines = vec![line.text];
        lines.extend(rest);
        lines
    }
}

/// The width of a table with these columns.
fn total(widths: &[Option<usize>]) -> usize {
    let columns = widths.iter().flatten();
    columns
        .map(|width| width + GAP)
        .sum::<usize>()
        .saturating_sub(GAP)
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
    fn columns_that_can_be_spared_go_before_a_name_is_cut() {
        let mut table = Table::new([
            ("ID", Fit::Cut(4)),
            ("SIZE", Fit::Spare),
            ("STATE", Fit::Whole),
            ("PARAMS", Fit::Spare),
        ]);
        let cells = ["qwen2.5-0.5b", "396M", "enabled", "494M"].map(Cell::from);
        table.row(cells, Vec::new());
        let render = |width| table.render(width, false).join("\n");
        assert_eq!(table.left_out(35), [""; 0]);
        assert_eq!(table.left_out(34), ["PARAMS"]);
        insta::assert_snapshot!(render(35), @"
        ID            SIZE  STATE    PARAMS
        qwen2.5-0.5b  396M  enabled    494M
        ");
        insta::assert_snapshot!(render(34), @"
        ID            SIZE  STATE
        qwen2.5-0.5b  396M  enabled
        ");
        insta::assert_snapshot!(render(20), @"
        ID           STATE
        qwen2.5-0.…  enabled
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
