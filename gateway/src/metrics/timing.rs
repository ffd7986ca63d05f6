//! How long things took: a histogram without a lock.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// The upper bounds of the buckets, in seconds: from an answer of a small model to the load of a big one.
const BOUNDS: [f64; 13] = [
    0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0,
];

/// Durations that were seen.
#[derive(Debug)]
pub(super) struct Timing {
    /// How many fell into each bucket; the last has no bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Their sum in microseconds.
    sum: AtomicU64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl Timing {
    /// Counts one.
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Writes it as a histogram in seconds.
    pub(super) fn encode(&self, encoder: &mut MetricEncoder<'_>) -> std::fmt::Result {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|n| n.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // Of the buckets, so that the sum of them and the count agree while others count on.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// How many there were.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        let counts = self.buckets.iter().map(|n| n.load(Ordering::Relaxed));
        counts.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let timing = Timing::default();
        timing.observe(Duration::from_millis(1));
        timing.observe(Duration::from_millis(2));
        timing.observe(Duration::from_secs(3600));
        let filled = timing.buckets.each_ref().map(|n| n.load(Ordering::Relaxed));
        assert_eq!(filled[0], 1);
        assert_eq!(filled[1], 1);
        assert_eq!(filled[BOUNDS.len()], 1);
        assert_eq!(timing.count(), 3);
    }
}
