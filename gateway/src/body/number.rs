//! Numbers.

/// How far a walk over a number is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Number {
    /// Nothing of it is there.
    #[default]
    Begin,
    /// Behind the first minus.
    Minus,
    /// Behind a zero, which no other digit may follow.
    Zero,
    /// Behind a digit of the integer.
    Integer,
    /// Behind the point.
    Point,
    /// Behind a digit of the fraction.
    Fraction,
    /// Behind the `e`.
    E,
    /// Behind the sign of the exponent.
    Sign,
    /// Behind a digit of the exponent.
    Exponent,
}

impl Number {
    /// How far it is behind one more character. None: that is none of it.
    pub(super) fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Begin, b'-') => Self::Minus,
            (Self::Begin | Self::Minus, b'0') => Self::Zero,
            (Self::Begin | Self::Minus | Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    /// Whether it may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::Exponent
        )
    }
}
