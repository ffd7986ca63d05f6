//! A picture on the terminal that is drawn again in place.

use std::io::{self, Write};

use super::text::printable;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// The picture. The cursor is hidden while it is there, and comes back below it.
pub(crate) struct Screen {
    /// Lines of the picture that is shown.
    height: usize,
}

impl Screen {
    /// An empty picture where the cursor is.
    pub(crate) fn open() -> io::Result<Self> {
        write!(io::stdout(), "{HIDE_CURSOR}")?;
        Ok(Self { height: 0 })
    }

    /// Replaces the picture, as far as it fits: what scrolled away could not be drawn again.
    pub(crate) fn draw(&mut self, lines: &[String], width: usize, height: usize) -> io::Result<()> {
        let room = height.saturating_sub(1).max(1);
        let mut frame = String::from("\r");
        if self.height > 0 {
            frame.push_str(&format!("\u{1b}[{}A", self.height));
        }
        frame.push_str(CLEAR_BELOW);
        let is_cut = lines.len() > room;
        let shown = if is_cut { room - 1 } else { lines.len() };
        for line in &lines[..shown] {
            frame.push_str(&one_row(line, width));
            frame.push('\n');
        }
        if is_cut {
            frame.push_str(&format!("… {} more lines\n", lines.len() - shown));
        }
        self.height = shown + usize::from(is_cut);
        let mut stdout = io::stdout().lock();
        stdout.write_all(frame.as_bytes())?;
        stdout.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        let _ = write!(io::stdout(), "{SHOW_CURSOR}");
        let _ = io::stdout().flush();
    }
}

/// A line that the terminal would wrap is drawn without its colours, and cut.
fn one_row(line: &str, width: usize) -> String {
    let plain = printable(line);
    if plain.chars().count() <= width {
        return line.to_owned();
    }
    super::text::cut(&plain, width)
}
