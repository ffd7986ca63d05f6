//! The bytes of a file in order, through one small buffer.
//!
//! No more is read than is asked for by need: what nobody wants is passed over, large pieces by a seek.
//! Whatever a header says, no more than [`MOST_READ`] bytes of it are read.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use super::error::GgufError;

/// The size of the buffer in bytes. Larger ones make small files dearer, and large ones no cheaper.
const BUFFER: usize = 32 * 1024;

/// The longest name of a key or a tensor, in bytes. llama.cpp takes 63 for a tensor, others that share
/// the format some more.
const LONGEST_NAME: usize = 1024;

/// The most that is read of a file, in bytes. The largest vocabularies take some tens of MiB.
const MOST_READ: u64 = 256 * 1024 * 1024;

pub(super) struct Input<S> {
    source: S,
    buffer: Box<[u8]>,
    /// What of the buffer is read and not yet taken.
    start: usize,
    end: usize,
    /// Where in the file `start` is.
    position: u64,
    /// How long the file is.
    length: u64,
    /// How much was read of it.
    read: u64,
}

impl<S: Read + Seek> Input<S> {
    /// A source that stands at its beginning.
    pub(super) fn new(source: S, length: u64) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            position: 0,
            length,
            read: 0,
        }
    }

    /// How many bytes were taken or passed over.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How long the file is, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A string that must be as short as a name is.
    pub(super) fn name(&mut self) -> Result<&[u8], GgufError> {
        let at = self.position;
        let length = self.u64()?;
        match usize::try_from(length) {
            Ok(length) if length <= LONGEST_NAME => self.take(length),
            Ok(_) | Err(_) => Err(GgufError::TooMany {
                at,
                what: "bytes in a name",
                count: length,
                most: LONGEST_NAME as u64,
            }),
        }
    }

    /// The beginning of a string, at most `most` bytes of it.
    pub(super) fn string(&mut self, most: usize) -> Result<Vec<u8>, GgufError> {
        let length = self.u64()?;
        self.require(length)?;
        let kept = usize::try_from(length).map_or(most, |length| length.min(most));
        let mut text = Vec::new();
        while text.len() < kept {
            let piece = (kept - text.len()).min(BUFFER);
            text.extend_from_slice(self.take(piece)?);
        }
        self.skip(length - kept as u64)?;
        Ok(text)
    }

    pub(super) fn skip_string(&mut self) -> Result<(), GgufError> {
        let length = self.u64()?;
        self.skip(length)
    }

    /// Passes over so many bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), GgufError> {
        self.require(count)?;
        let buffered = (self.end - self.start) as u64;
        if count <= buffered {
            self.start += count as usize;
        } else {
            let ahead = i64::try_from(count - buffered).map_err(|_| self.cut())?;
            self.source
                .seek(SeekFrom::Current(ahead))
                .map_err(|reason| GgufError::Unreadable { reason })?;
            (self.start, self.end) = (0, 0);
        }
        self.position += count;
        Ok(())
    }

    /// Whether so many bytes more can be there.
    pub(super) fn require(&self, count: u64) -> Result<(), GgufError> {
        match self.position.checked_add(count) {
            Some(end) if end <= self.length => Ok(()),
            Some(_) | None => Err(self.cut()),
        }
    }

    /// The next so many bytes, which the buffer can hold.
    fn take(&mut self, count: usize) -> Result<&[u8], GgufError> {
        self.require(count as u64)?;
        if self.end - self.start < count {
            self.fill(count)?;
        }
        let taken = self.start..self.start + count;
        self.start = taken.end;
        self.position += count as u64;
        Ok(&self.buffer[taken])
    }

    fn fill(&mut self, count: usize) -> Result<(), GgufError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < count {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(self.shrunk()),
                Ok(read) => self.account(read)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(reason) => return Err(GgufError::Unreadable { reason }),
            }
        }
        Ok(())
    }

    fn account(&mut self, read: usize) -> Result<(), GgufError> {
        self.end += read;
        self.read += read as u64;
        if self.read > MOST_READ {
            return Err(GgufError::TooMany {
                at: self.position,
                what: "bytes of header and more",
                count: self.read,
                most: MOST_READ,
            });
        }
        Ok(())
    }

    fn cut(&self) -> GgufError {
        GgufError::HeaderCut {
            length: self.length,
        }
    }

    /// The file is shorter than it was when it was measured.
    fn shrunk(&self) -> GgufError {
        GgufError::HeaderCut {
            length: self.position + self.end as u64,
        }
    }
}
