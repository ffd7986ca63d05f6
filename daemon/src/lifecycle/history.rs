//! Backoff and breaker: what earlier failures mean for the next try.

use std::time::Duration;

use super::policy::RestartPolicy;
use crate::moment::Moment;

/// The share of a delay that jitter may add, so that servers which failed together do not return
/// together.
const JITTER: f64 = 0.1;

/// The failures of a server since it was last asked to run.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Failures that may still count, oldest first. Never more than `max_failures`.
    failures: Vec<Failure>,
    /// Failures in a row without `reset_after` of ready between them: the exponent of the delay.
    in_a_row: u32,
    /// Automatic restarts.
    restarts: u32,
    /// Whether the next failure before ready closes the half-open breaker again at once.
    trial: bool,
    /// State of the generator that jitter is drawn from.
    random: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Failure {
    at: Moment,
    /// It came before ready, and ready has not been reached since: it does not age.
    sticky: bool,
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Judgement {
    /// Another try after this long.
    Retry(Duration),
    /// The breaker opens: so many failures within the window.
    GiveUp(u32),
}

impl History {
    /// No failures. `seed` is the randomness that jitter is made of.
    pub fn new(seed: u64) -> Self {
        Self {
            failures: Vec::new(),
            in_a_row: 0,
            restarts: 0,
            trial: false,
            random: seed,
        }
    }

    /// Automatic restarts since the last requested start or replace.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Failures that count towards the breaker at `now`.
    pub fn failures(&self, policy: &RestartPolicy, now: Moment) -> u32 {
        let counted = self.failures.iter().filter(|f| f.counts(policy, now));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }

    /// The delay before the next automatic restart, without jitter.
    pub fn next_delay(&self, policy: &RestartPolicy) -> Duration {
        delay(policy, self.in_a_row)
    }

    /// What matters of it at `now`: the ages of the failures that count, no older than the window and
    /// with whether they age, and whether it is a trial.
    #[cfg(test)]
    pub(super) fn essence(
        &self,
        policy: &RestartPolicy,
        now: Moment,
    ) -> (Vec<(Duration, bool)>, bool) {
        let counted = self.failures.iter().filter(|f| f.counts(policy, now));
        let age = |f: &Failure| now.since(f.at).min(policy.failure_window);
        (counted.map(|f| (age(f), f.sticky)).collect(), self.trial)
    }

    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(self.random);
    }

    pub(super) fn note_restart(&mut self) {
        self.restarts = self.restarts.saturating_add(1);
    }

    pub(super) fn note_trial(&mut self) {
        self.trial = true;
    }

    pub(super) fn note_ready(&mut self) {
        self.trial = false;
        for failure in &mut self.failures {
            failure.sticky = false;
        }
    }

    /// Takes in a failure after `ready_for` (none: it never got ready) and judges.
    pub(super) fn note_failure(
        &mut self,
        policy: &RestartPolicy,
        ready_for: Option<Duration>,
        now: Moment,
    ) -> Judgement {
        if ready_for.is_some_and(|time| time >= policy.reset_after) {
            self.failures.clear();
            self.in_a_row = 0;
        }
        self.remember(policy, ready_for, now);
        let count = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        let failed_trial = std::mem::take(&mut self.trial) && ready_for.is_none();
        if policy.max_failures > 0 && (failed_trial || count >= policy.max_failures) {
            return Judgement::GiveUp(count);
        }
        let base = delay(policy, self.in_a_row);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Judgement::Retry(base.mul_f64(1.0 + JITTER * self.draw()))
    }

    /// Remembers a failure that just happened, and forgets those that are too old or too many to matter.
    fn remember(&mut self, policy: &RestartPolicy, ready_for: Option<Duration>, now: Moment) {
        self.failures.retain(|failure| failure.counts(policy, now));
        self.failures.push(Failure {
            at: now,
            sticky: ready_for.is_none(),
        });
        let excess = self
            .failures
            .len()
            .saturating_sub(policy.max_failures as usize);
        self.failures.drain(..excess);
    }

    /// The next number of the generator (splitmix64), in 0..1.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Failure {
    fn counts(&self, policy: &RestartPolicy, now: Moment) -> bool {
        self.sticky || now.since(self.at) < policy.failure_window
    }
}

fn delay(policy: &RestartPolicy, in_a_row: u32) -> Duration {
    let factor = 2_u32.checked_pow(in_a_row).unwrap_or(u32::MAX);
    policy
        .initial_delay
        .checked_mul(factor)
        .unwrap_or(policy.max_delay)
        .min(policy.max_delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let policy = RestartPolicy::default();
        let seconds: Vec<f64> = (0..9).map(|n| delay(&policy, n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[test]
    fn only_time_spent_ready_resets_the_delay() {
        let policy = RestartPolicy {
            max_failures: 100,
            ..RestartPolicy::default()
        };
        let mut history = History::new(1);
        for n in 0..4 {
            history.note_failure(&policy, None, at(n * 10_000));
        }
        assert_eq!(history.next_delay(&policy), Duration::from_secs(8));
        history.note_failure(&policy, Some(Duration::from_secs(599)), at(50_000));
        assert_eq!(history.next_delay(&policy), Duration::from_secs(16));
        history.note_failure(&policy, Some(Duration::from_secs(600)), at(60_000));
        assert_eq!(history.next_delay(&policy), Duration::from_secs(1));
    }

    #[test]
    fn failures_before_ready_do_not_age_until_one_ready() {
        let policy = RestartPolicy::default();
        let mut history = History::new(1);
        for n in 0..4 {
            history.note_failure(&policy, None, at(n * 10_000));
        }
        assert_eq!(history.failures(&policy, at(90_000)), 4);
        history.note_ready();
        assert_eq!(history.failures(&policy, at(90_000)), 0);
    }

    #[test]
    fn a_failed_trial_opens_the_breaker_again_at_once() {
        let policy = RestartPolicy::default();
        let mut history = History::new(1);
        history.note_trial();
        assert!(matches!(
            history.note_failure(&policy, None, at(0)),
            Judgement::GiveUp(1)
        ));
    }

    #[test]
    fn without_a_limit_it_never_gives_up_and_remembers_nothing() {
        let policy = RestartPolicy {
            max_failures: 0,
            ..RestartPolicy::default()
        };
        let mut history = History::new(1);
        for n in 0..10_000 {
            let judged = history.note_failure(&policy, None, at(n));
            assert!(matches!(judged, Judgement::Retry(_)));
        }
        assert!(history.failures.is_empty());
    }

    proptest! {
        /// R2: each wait is within [d, 1.1 d].
        #[test]
        fn every_delay_is_on_the_curve(seed: u64, failures in 1_u32..40, first_ms in 1_u64..5_000) {
            let policy = RestartPolicy {
                max_failures: u32::MAX,
                initial_delay: Duration::from_millis(first_ms),
                ..RestartPolicy::default()
            };
            let mut history = History::new(seed);
            for n in 0..failures {
                let curve = delay(&policy, n);
                let Judgement::Retry(wait) = history.note_failure(&policy, None, at(0)) else {
                    panic!("the breaker opened");
                };
                prop_assert!(wait >= curve);
                prop_assert!(wait <= curve.mul_f64(1.1));
            }
        }

        /// R4: exactly `max_failures` within the window open the breaker.
        #[test]
        fn the_breaker_opens_at_the_configured_count(most in 1_u32..20, gap in 0_u64..20) {
            let policy = RestartPolicy { max_failures: most, ..RestartPolicy::default() };
            let mut history = History::new(7);
            for n in 1..=most {
                let judged = history.note_failure(&policy, Some(Duration::ZERO), at(u64::from(n) * gap));
                prop_assert_eq!(n == most, matches!(judged, Judgement::GiveUp(_)));
            }
        }
    }
}
