//! Writes small GGUF files.

/// A file to be written.
#[derive(Clone)]
pub(super) struct Gguf {
    version: u32,
    keys: Vec<(String, Vec<u8>)>,
    tensors: Vec<Tensor>,
    alignment: u64,
}

#[derive(Clone)]
struct Tensor {
    name: String,
    sizes: Vec<u64>,
    kind: u32,
    bytes: u64,
    /// Instead of where it belongs.
    offset: Option<u64>,
}

impl Gguf {
    pub(super) fn empty() -> Self {
        Self {
            version: 3,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    pub(super) fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    pub(super) fn of(architecture: &str) -> Self {
        Self::empty().text("general.architecture", architecture)
    }

    pub(super) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &string(value.as_bytes()))
    }

    pub(super) fn number(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(super) fn truth(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    pub(super) fn numbers(self, key: &str, values: &[u32]) -> Self {
        let bytes: Vec<_> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 4, values.len() as u64, &bytes)
    }

    pub(super) fn truths(self, key: &str, values: &[bool]) -> Self {
        let bytes: Vec<_> = values.iter().map(|&value| u8::from(value)).collect();
        self.array(key, 7, values.len() as u64, &bytes)
    }

    pub(super) fn texts(self, key: &str, values: &[&str]) -> Self {
        let bytes: Vec<_> = values
            .iter()
            .flat_map(|text| string(text.as_bytes()))
            .collect();
        self.array(key, 8, values.len() as u64, &bytes)
    }

    /// An array that may lie about how many elements it has.
    pub(super) fn array(self, key: &str, kind: u32, count: u64, bytes: &[u8]) -> Self {
        let head = [&kind.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat();
        self.raw(key, 9, &head)
    }

    /// A value of any kind.
    pub(super) fn raw(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        let value = [&kind.to_le_bytes()[..], bytes].concat();
        self.keys.push((key.to_owned(), value));
        self
    }

    pub(super) fn aligned(mut self, alignment: u32) -> Self {
        self.alignment = alignment.into();
        self.number("general.alignment", alignment)
    }

    /// A tensor of a type that is known here.
    pub(super) fn tensor(self, name: &str, sizes: &[u64], kind: u32) -> Self {
        let elements: u64 = sizes.iter().product();
        let bytes = match super::types::lookup(kind) {
            super::types::Known::Type(found) => elements / found.block * found.bytes,
            super::types::Known::Removed | super::types::Known::Unknown => elements,
        };
        self.sized(name, sizes, kind, bytes)
    }

    /// A tensor with so many bytes of data.
    pub(super) fn sized(mut self, name: &str, sizes: &[u64], kind: u32, bytes: u64) -> Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            sizes: sizes.to_vec(),
            kind,
            bytes,
            offset: None,
        });
        self
    }

    /// Moves the last tensor.
    pub(super) fn at(mut self, offset: u64) -> Self {
        self.tensors.last_mut().unwrap().offset = Some(offset);
        self
    }

    /// The header, without the gap behind it.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(string(key.as_bytes()));
            out.extend(value);
        }
        let mut end = 0;
        for tensor in &self.tensors {
            out.extend(string(tensor.name.as_bytes()));
            out.extend((tensor.sizes.len() as u32).to_le_bytes());
            out.extend(tensor.sizes.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(end).to_le_bytes());
            end = self.padded(end + tensor.bytes);
        }
        out
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        for tensor in &self.tensors {
            let end = self.padded(out.len() as u64) + tensor.bytes;
            out.resize(end as usize, 0);
        }
        out
    }

    fn padded(&self, length: u64) -> u64 {
        length.next_multiple_of(self.alignment)
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}
