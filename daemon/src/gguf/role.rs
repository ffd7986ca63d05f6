//! What a file is to others.

use super::facts::{Role, Split};
use super::metadata::Metadata;
use super::tensors::Tensors;

/// What a file is to others.
pub(super) fn role(metadata: &Metadata, tensors: &Tensors, split: Option<Split>) -> Role {
    let architecture = metadata.architecture();
    match metadata.text("general.type") {
        Some("adapter" | "imatrix") => return Role::Adapter,
        Some("mmproj") => return Role::Projector,
        Some("vocab") => return Role::Vocabulary,
        Some(_) | None => {}
    }
    if architecture == "clip" {
        return Role::Projector;
    }
    let is_adapter = metadata.text("adapter.type").is_some()
        || architecture == "controlvector"
        || tensors.are_lora;
    if is_adapter {
        return Role::Adapter;
    }
    match split {
        Some(Split { number: 1, .. }) => Role::Model,
        Some(_) => Role::Shard,
        None if tensors.count == 0 => Role::Vocabulary,
        None => Role::Model,
    }
}

/// Which shard of how many it is. One of one is none.
pub(super) fn split(metadata: &Metadata) -> Option<Split> {
    let count = u16::try_from(metadata.number("split.count")?).ok()?;
    let number = u16::try_from(metadata.number("split.no")?).ok()?;
    (count > 1 && number < count).then(|| Split {
        number: number + 1,
        count,
    })
}
