//! Telling whether a file that is in use was overwritten, without reading all of it.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The size of one sample.
const BLOCK: usize = 4096;

/// How many samples are taken, spread evenly over the file.
const BLOCKS: u64 = 64;

/// A file as it was at one moment: who it is, when it was written, and samples of what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    digest: u64,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was, or was only touched.
    Same,
    /// There is no file of that name any more, or another one in its place: whoever has the old one open
    /// still has it.
    Replaced,
    /// It is the same file and holds something else.
    Overwritten,
}

impl Sample {
    /// Samples the file at `path`, through symlinks. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        Ok(Self {
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            digest: digest(&file, meta.size())?,
        })
    }

    /// What became of the file since. It is read only if it was written meanwhile. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever the system says, other than that there is no such file.
    pub fn fate(&self, path: &Path) -> io::Result<Fate> {
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Fate::Replaced),
            Err(error) => return Err(error),
        };
        if meta.ino() != self.inode {
            return Ok(Fate::Replaced);
        }
        if meta.size() != self.size {
            return Ok(Fate::Overwritten);
        }
        if (meta.mtime(), meta.mtime_nsec()) == self.modified {
            return Ok(Fate::Same);
        }
        match Self::of(path)?.digest == self.digest {
            true => Ok(Fate::Same),
            false => Ok(Fate::Overwritten),
        }
    }
}

fn digest(file: &File, size: u64) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut block = [0; BLOCK];
    for index in 0..BLOCKS {
        let read = file.read_at(&mut block, size / BLOCKS * index)?;
        hasher.write(&block[..read]);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_was_only_touched_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let sample = Sample::of(&path).unwrap();
        fs::write(&path, vec![7; 100_000]).unwrap();
        assert_eq!(sample.fate(&path).unwrap(), Fate::Same);
    }

    #[test]
    fn another_file_of_that_name_is_not_an_overwritten_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        fs::write(&path, "old").unwrap();
        let sample = Sample::of(&path).unwrap();
        fs::write(dir.path().join("new"), "other").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(sample.fate(&path).unwrap(), Fate::Replaced);
        fs::remove_file(&path).unwrap();
        assert_eq!(sample.fate(&path).unwrap(), Fate::Replaced);
    }

    #[test]
    fn what_is_written_into_a_file_is_noticed_by_its_size_or_by_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        for content in [vec![8; 100_000], vec![7; 10]] {
            fs::write(&path, vec![7; 100_000]).unwrap();
            let sample = Sample::of(&path).unwrap();
            fs::write(&path, content).unwrap();
            assert_eq!(sample.fate(&path).unwrap(), Fate::Overwritten);
        }
    }
}
