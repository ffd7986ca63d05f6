//! Reading on in a file that is being written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::lines::Splitter;

/// The most that is read at a time.
const CHUNK: usize = 256 * 1024;

/// A reader who is further behind than this is taken to the end: the rest would only make him later.
const FURTHEST_BEHIND: u64 = 8 * 1024 * 1024;

/// A place in the output of an incarnation.
#[derive(Debug)]
pub struct Follower {
    file: File,
    position: u64,
    splitter: Splitter,
}

/// What a look at the file brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// Whole lines, in order.
    pub lines: Vec<String>,
    /// Bytes that were passed over before them.
    pub skipped: u64,
    /// Whether there was nothing more to read.
    pub at_end: bool,
}

impl Follower {
    /// Begins at the end of the file.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let position = file.metadata()?.len();
        Ok(Self {
            file,
            position,
            splitter: Splitter::default(),
        })
    }

    /// Begins at the start of the file.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn at_start(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            position: 0,
            splitter: Splitter::default(),
        })
    }

    /// Reads on, a bounded piece at a time. Blocks.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(&mut self) -> io::Result<Fresh> {
        let mut fresh = Fresh {
            skipped: self.catch_up()?,
            ..Fresh::default()
        };
        let mut chunk = vec![0; CHUNK];
        let read = self.file.read_at(&mut chunk, self.position)?;
        self.position += read as u64;
        self.splitter
            .push(&chunk[..read], |line| fresh.lines.push(line));
        fresh.at_end = read < CHUNK;
        Ok(fresh)
    }

    /// The line that has no end yet, if there is one; the file will not grow any more.
    pub fn finish(&mut self) -> Option<String> {
        self.splitter.finish()
    }

    /// Goes where reading makes sense: to the start of a file that was truncated, and close to the end
    /// of one that grew too fast.
    fn catch_up(&mut self) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        if length < self.position {
            self.position = 0;
        }
        if length - self.position <= FURTHEST_BEHIND {
            return Ok(0);
        }
        let target = length - FURTHEST_BEHIND / 2;
        let skipped = target - self.position;
        self.position = target;
        self.splitter = Splitter::default();
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_once_they_have_an_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = Follower::at_start(file.path()).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(follower.read().unwrap().lines, ["one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(follower.read().unwrap().lines, ["two"]);
        assert_eq!(follower.read().unwrap().lines, [""; 0]);
    }

    #[test]
    fn a_reader_far_behind_is_told_what_he_missed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = Follower::at_start(file.path()).unwrap();
        let size = FURTHEST_BEHIND * 3;
        file.write_all(&vec![b'\n'; usize::try_from(size).unwrap()])
            .unwrap();
        let fresh = follower.read().unwrap();
        assert_eq!(fresh.skipped, size - FURTHEST_BEHIND / 2);
    }

    #[test]
    fn a_truncated_file_is_read_from_its_start() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a long first line\n").unwrap();
        let mut follower = Follower::at_end(file.path()).unwrap();
        file.as_file().set_len(0).unwrap();
        std::fs::write(file.path(), "new\n").unwrap();
        assert_eq!(follower.read().unwrap().lines, ["new"]);
    }
}
