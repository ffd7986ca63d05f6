//! Does a ready server still live?
//!
//! `/health` answers 200 on a llama-server whose decode loop is wedged, and goes unanswered on one
//! that is merely saturated: its few HTTP threads are all busy streaming. So neither is believed
//! alone. What decides is whether anything *moves*: the tokens of its slots, and the CPU time of the
//! process. A server that moves is never called hung, however long it keeps us waiting; one that is
//! stopped or deadlocked uses no CPU time, and is found.

use std::time::Duration;

use crate::moment::Moment;

/// `[liveness]`: how a ready server is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivenessRules {
    /// The time between two looks.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many unanswered looks in a row, without movement, are a hang. At least 1.
    pub failures: u32,
    /// So long with work in hand and without movement is a hang.
    pub stall: Duration,
}

impl Default for LivenessRules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failures: 3,
            stall: Duration::from_secs(120),
        }
    }
}

/// What one look at a ready server has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether `/health` was answered in time, with whatever status.
    pub answered: bool,
    /// The CPU time its process has used. Absent if it cannot be read.
    pub cpu: Option<Duration>,
    /// What its slots do.
    pub work: Work,
}

/// What the slots of a server do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing, or nobody is connected who could have asked for anything.
    Idle,
    /// They work: tokens read and written by each busy slot.
    Busy(Vec<(u64, u64)>),
    /// Somebody is connected, and `/slots` was not answered. By itself that means little.
    Unanswered,
}

/// What to make of the looks so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It lives.
    Alive,
    /// It has not answered so many times in a row, but it moves: it is saturated.
    Saturated(u32),
    /// It hangs, for this reason.
    Hung(String),
}

/// CPU time that our own looks may cost the server between two of them. A llama-server b11434 was
/// measured to use 0.13 ms to answer `/health` and 0.3 ms for `/slots` or `/props`; the clock of the
/// kernel counts in steps of 10 ms.
const OWN_CPU: Duration = Duration::from_millis(20);

/// Remembers what is needed of earlier looks at one incarnation.
#[derive(Clone, Debug, Default)]
pub struct HangDetector {
    misses: u32,
    cpu_before_misses: Option<Duration>,
    standstill: Option<Standstill>,
}

#[derive(Clone, Debug)]
struct Standstill {
    since: Moment,
    cpu: Option<Duration>,
    tokens: Option<Vec<(u64, u64)>>,
}

impl HangDetector {
    /// Takes in one look.
    pub fn observe(&mut self, look: &Look, rules: &LivenessRules, now: Moment) -> Liveness {
        if let Some(stalled) = self.stalled(look, now)
            && stalled >= rules.stall
        {
            return Liveness::Hung(format!(
                "work in its slots and no token and no CPU time for {} s (liveness.stall)",
                stalled.as_secs()
            ));
        }
        self.unanswered(look, rules)
    }

    fn unanswered(&mut self, look: &Look, rules: &LivenessRules) -> Liveness {
        if look.answered {
            self.misses = 0;
            self.cpu_before_misses = look.cpu;
            return Liveness::Alive;
        }
        self.misses = self.misses.saturating_add(1);
        if self.cpu_before_misses.is_none() {
            // It has never answered since it got ready: there is nothing yet to compare with.
            self.cpu_before_misses = look.cpu;
            if look.cpu.is_some() {
                return Liveness::Alive;
            }
        }
        if self.misses < rules.failures {
            return Liveness::Alive;
        }
        if moved(self.cpu_before_misses, look.cpu) {
            // The next verdict rests on what happens from here on.
            self.cpu_before_misses = look.cpu;
            return Liveness::Saturated(self.misses);
        }
        Liveness::Hung(format!(
            "/health unanswered {} times in a row, and no CPU time meanwhile (liveness.failures)",
            self.misses
        ))
    }

    /// For how long nothing has moved although there is work.
    fn stalled(&mut self, look: &Look, now: Moment) -> Option<Duration> {
        let tokens = match &look.work {
            Work::Idle => {
                self.standstill = None;
                return None;
            }
            Work::Busy(tokens) => Some(tokens.clone()),
            Work::Unanswered => self.standstill.as_ref().and_then(|s| s.tokens.clone()),
        };
        match &self.standstill {
            Some(still) if !moved(still.cpu, look.cpu) && same(&still.tokens, &tokens) => {
                Some(now.since(still.since))
            }
            Some(_) | None => {
                self.standstill = Some(Standstill {
                    since: now,
                    cpu: look.cpu,
                    tokens,
                });
                Some(Duration::ZERO)
            }
        }
    }
}

fn same(old: &Option<Vec<(u64, u64)>>, new: &Option<Vec<(u64, u64)>>) -> bool {
    old.is_none() || old == new
}

/// An unreadable CPU time counts as standing still: then the other evidence decides alone.
fn moved(before: Option<Duration>, after: Option<Duration>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => after.saturating_sub(before) > OWN_CPU,
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(answered: bool, cpu_ms: u64, work: Work) -> Look {
        Look {
            answered,
            cpu: Some(Duration::from_millis(cpu_ms)),
            work,
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    fn verdicts(looks: impl IntoIterator<Item = Look>) -> Vec<Liveness> {
        let mut detector = HangDetector::default();
        let rules = LivenessRules::default();
        let each = looks.into_iter().enumerate();
        each.map(|(n, look)| detector.observe(&look, &rules, at(10 * n as u64)))
            .collect()
    }

    #[test]
    fn a_stopped_process_is_hung_after_the_configured_failures() {
        let mut looks = vec![look(true, 500, Work::Idle)];
        looks.extend(vec![look(false, 500, Work::Idle); 3]);
        let verdicts = verdicts(looks);
        assert_eq!(verdicts[..3], [const { Liveness::Alive }; 3]);
        assert!(matches!(verdicts[3], Liveness::Hung(_)));
    }

    #[test]
    fn a_saturated_server_is_never_hung() {
        let looks = (0..1_000).map(|n| look(n == 0, n * 9_000, Work::Unanswered));
        assert!(
            verdicts(looks)
                .iter()
                .all(|verdict| !matches!(verdict, Liveness::Hung(_)))
        );
    }

    #[test]
    fn a_server_that_is_saturated_from_its_first_moment_on_is_never_hung() {
        let looks = (0..1_000).map(|n| look(false, n * 9_000, Work::Unanswered));
        let mut detector = HangDetector::default();
        let impatient = LivenessRules {
            failures: 1,
            ..LivenessRules::default()
        };
        for (n, look) in looks.enumerate() {
            let verdict = detector.observe(&look, &impatient, at(10 * n as u64));
            assert!(!matches!(verdict, Liveness::Hung(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_process_that_is_stopped_before_it_ever_answered_is_found() {
        let verdicts = verdicts(vec![look(false, 500, Work::Idle); 3]);
        assert!(matches!(verdicts[2], Liveness::Hung(_)));
    }

    #[test]
    fn a_server_deep_in_a_prompt_is_never_hung() {
        let looks = (0..100).map(|n| look(true, n * 9_000, Work::Busy(vec![(0, 0)])));
        assert_eq!(verdicts(looks), vec![Liveness::Alive; 100]);
    }

    #[test]
    fn a_wedged_decode_loop_is_hung_although_health_is_fine() {
        let looks = (0..14).map(|_| look(true, 500, Work::Busy(vec![(7, 3)])));
        let verdicts = verdicts(looks);
        assert_eq!(verdicts[11], Liveness::Alive);
        assert!(matches!(verdicts[12], Liveness::Hung(_)));
    }

    #[test]
    fn tokens_that_come_slowly_are_movement() {
        let looks = (0..100).map(|n| look(true, 500, Work::Busy(vec![(n / 11, 3)])));
        assert_eq!(verdicts(looks), vec![Liveness::Alive; 100]);
    }

    #[test]
    fn slots_that_do_not_answer_are_no_hang_while_the_process_works() {
        let looks = (0..100).map(|n| look(true, n * 50, Work::Unanswered));
        assert_eq!(verdicts(looks), vec![Liveness::Alive; 100]);
    }
}
