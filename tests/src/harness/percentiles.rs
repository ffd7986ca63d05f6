//! The distribution of what was measured.

use std::fmt;
use std::time::Duration;

/// Times that were measured.
#[derive(Clone, Debug, Default)]
pub struct Percentiles {
    times: Vec<Duration>,
}

impl Percentiles {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        let place = self.times.partition_point(|other| *other <= time);
        self.times.insert(place, time);
    }

    /// The time that 99 of 100 do not exceed.
    ///
    /// # Panics
    ///
    /// Like all of these, if nothing was measured.
    pub fn p99(&self) -> Duration {
        self.at(99)
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        self.at(50)
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.at(100)
    }

    fn at(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100);
        self.times[rank.max(1) - 1]
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "median {:.1?}, p99 {:.1?}, worst {:.1?} of {}",
            self.median(),
            self.p99(),
            self.worst(),
            self.times.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_beyond_p99() {
        let mut times = Percentiles::default();
        for n in (1..=100).rev() {
            times.add(Duration::from_millis(n));
        }
        let expected = [50, 99, 100].map(Duration::from_millis);
        assert_eq!([times.median(), times.p99(), times.worst()], expected);
    }
}
