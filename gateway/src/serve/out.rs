//! What is to be sent next on a connection.

use std::io::IoSlice;

use bytes::Bytes;

/// A piece up to this size is copied behind what is there, in bytes. A larger one is sent from where it lies.
const SMALL: usize = 4096;

/// So much is sent before more is asked for, in bytes.
const ENOUGH: usize = 16 * 1024;

/// What is to be sent next. Empty, it takes no room.
#[derive(Default)]
pub(super) struct Out {
    /// First these,
    copied: Vec<u8>,
    /// then this,
    piece: Bytes,
    /// then this.
    end: &'static [u8],
    /// So many bytes of all of them were sent.
    sent: usize,
}

impl Out {
    /// Begins with the head of an answer.
    pub(super) fn new(head: Vec<u8>) -> Self {
        Self {
            copied: head,
            ..Self::default()
        }
    }

    /// Where to write what is small.
    pub(super) fn small(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Adds a piece, and what comes behind it. There must not be [enough](Self::is_enough) already.
    pub(super) fn push(&mut self, piece: Bytes, end: &'static [u8]) {
        if piece.len() <= SMALL {
            self.copied.extend_from_slice(&piece);
            self.copied.extend_from_slice(end);
        } else {
            (self.piece, self.end) = (piece, end);
        }
    }

    /// Whether it is to be sent before anything else is added.
    pub(super) fn is_enough(&self) -> bool {
        !self.piece.is_empty() || self.copied.len() >= ENOUGH
    }

    /// What was not sent yet, and in how many pieces that is.
    pub(super) fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; 3]) -> usize {
        let mut sent = self.sent;
        let mut count = 0;
        for part in [&self.copied[..], &self.piece, self.end] {
            let skipped = sent.min(part.len());
            sent -= skipped;
            if skipped < part.len() {
                pieces[count] = IoSlice::new(&part[skipped..]);
                count += 1;
            }
        }
        count
    }

    /// Whether there is something to send.
    pub(super) fn has_remaining(&self) -> bool {
        self.sent < self.copied.len() + self.piece.len() + self.end.len()
    }

    /// So many bytes more were sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if !self.has_remaining() {
            *self = Self::default();
        }
    }
}
