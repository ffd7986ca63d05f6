//! Enums of the API as JSON has them: words.

/// Defines an enum whose values stand for those of an enum of `magi.v1`, each with its word. A number that
/// is none of those, which a newer magid may send, is what `Unspecified` is.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident of $wire:ident {
            $($(#[$doc:meta])* $theirs:ident => $ours:ident $word:tt,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $ours,)*
        }

        impl $name {
            /// The word for it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$ours => $word,)*
                }
            }

            /// From the number on the wire.
            pub fn from_wire(number: i32) -> Self {
                let value = magi_proto::v1::$wire::try_from(number);
                match value.unwrap_or(magi_proto::v1::$wire::Unspecified) {
                    $(magi_proto::v1::$wire::$theirs => Self::$ours,)*
                }
            }
        }
    };
}

pub(crate) use words;
