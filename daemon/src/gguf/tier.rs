//! The rule that makes a tier of a model's size.

use super::facts::Tier;

/// The most bytes of weights, parameters times their bits, that a model of a tier has. What is larger
/// than both is [`Tier::Powerful`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierRule {
    /// Of a fast model.
    pub fast: u64,
    /// Of a balanced model.
    pub balanced: u64,
}

impl Default for TierRule {
    fn default() -> Self {
        Self {
            fast: 3_500_000_000,
            balanced: 10_000_000_000,
        }
    }
}

impl TierRule {
    /// The tier of a model with so many bytes of weights.
    pub fn tier(&self, weights: u64) -> Tier {
        if weights <= self.fast {
            Tier::Fast
        } else if weights <= self.balanced {
            Tier::Balanced
        } else {
            Tier::Powerful
        }
    }
}
