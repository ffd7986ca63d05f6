//! Which generations are kept.
//!
//! The ten newest, and of each of the last seven days and four weeks on which there were any the
//! newest one. Days without a change do not count, so a configuration that rests for a year loses
//! nothing, and neither does one whose clock jumps.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, ISOWeekDate};
use jiff::tz::TimeZone;

/// So many of the newest are kept.
pub const RECENT: usize = 10;

/// Of so many days the newest of each is kept.
pub const DAILY: usize = 7;

/// Of so many weeks the newest of each is kept.
pub const WEEKLY: usize = 4;

/// Of all generations, newest first, the numbers of those that are kept, newest first. Days are those
/// of UTC, weeks begin on Monday.
pub fn kept(all: &[(u64, Timestamp)]) -> Vec<u64> {
    let days = newest_of_each(all, DAILY, day);
    let weeks = newest_of_each(all, WEEKLY, |at| week(day(at)));
    let numbered = all.iter().enumerate();
    numbered
        .filter(|(place, (number, _))| {
            *place < RECENT || days.contains(number) || weeks.contains(number)
        })
        .map(|(_, (number, _))| *number)
        .collect()
}

/// The newest of each of the last `most` spans.
fn newest_of_each<S: PartialEq>(
    all: &[(u64, Timestamp)],
    most: usize,
    span: impl Fn(Timestamp) -> S,
) -> BTreeSet<u64> {
    let mut spans: Vec<S> = Vec::with_capacity(most);
    let mut newest = BTreeSet::new();
    for (number, at) in all {
        let span = span(*at);
        if spans.len() < most && !spans.contains(&span) {
            spans.push(span);
            newest.insert(*number);
        }
    }
    newest
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn week(day: Date) -> (i16, i8) {
    let week: ISOWeekDate = day.iso_week_date();
    (week.year(), week.week())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generations::tests::at;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn ten_edits_of_an_afternoon_do_not_push_out_last_week() {
        // 2026-06-01 is a Monday, at noon.
        let monday: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let on = |days: i64, second: i64| {
            let seconds = monday.as_second() + days * DAY + second;
            Timestamp::from_second(seconds).unwrap()
        };
        // Two a day for sixty days, and then twenty on one afternoon.
        let mut times: Vec<Timestamp> = (0..60).flat_map(|day| [on(day, 0), on(day, 1)]).collect();
        times.extend((0..20).map(|second| on(60, second)));
        let mut all: Vec<(u64, Timestamp)> = (1..).zip(times).collect();
        all.reverse();
        let recent = 131..=140;
        // The newest of this afternoon is among the recent ones: six days are left.
        let daily = [120, 118, 116, 114, 112, 110];
        // Day 60 is a Friday: this week's newest is 140, then those of the Sundays before.
        let weekly = [112, 98, 84];
        let mut expected: BTreeSet<u64> = recent.collect();
        expected.extend(daily);
        expected.extend(weekly);
        assert_eq!(kept(&all), expected.into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_configuration_that_rested_for_a_year_loses_nothing() {
        let all = [(2, at(400 * DAY)), (1, at(0))];
        assert_eq!(kept(&all), [2, 1]);
    }

    /// Generations, newest first, whose clock may have jumped.
    fn generations() -> impl Strategy<Value = Vec<(u64, Timestamp)>> {
        let steps = prop_oneof![
            8 => 0..2 * DAY,
            1 => -30 * DAY..30 * DAY,
        ];
        prop::collection::vec(steps, 0..100).prop_map(|steps| {
            let mut now = 0;
            let mut all: Vec<_> = (1..)
                .zip(steps)
                .map(|(number, step)| {
                    now += step;
                    (number, at(now))
                })
                .collect();
            all.reverse();
            all
        })
    }

    proptest! {
        #[test]
        fn the_newest_are_always_kept_and_all_of_them_are_few(all in generations()) {
            let kept = kept(&all);
            let newest: Vec<u64> = all.iter().map(|(number, _)| *number).take(RECENT).collect();
            prop_assert!(kept.starts_with(&newest));
            prop_assert!(kept.len() <= RECENT + DAILY + WEEKLY);
        }

        #[test]
        fn what_is_kept_stays_kept_if_nothing_comes(all in generations()) {
            let once = kept(&all);
            let left: Vec<_> = all.into_iter().filter(|(number, _)| once.contains(number)).collect();
            prop_assert_eq!(kept(&left), once);
        }

        #[test]
        fn what_one_more_makes_superfluous_never_becomes_worth_keeping(all in generations(), step in 0..40 * DAY) {
            let before = kept(&all);
            let newest = all.first().map_or((0, at(0)), |newest| *newest);
            let next = (newest.0 + 1, at(newest.1.as_second() + step));
            let all: Vec<_> = std::iter::once(next).chain(all).collect();
            let more = kept(&all);
            prop_assert!(more.iter().all(|number| *number == next.0 || before.contains(number)));
        }

        #[test]
        fn removing_in_between_leaves_what_is_kept_from_then_on(all in generations(), at in any::<prop::sample::Index>()) {
            // Pruned at any time before, the end is the same: what is removed was not needed later.
            let from = at.index(all.len() + 1);
            let (newer, older) = all.split_at(from);
            let then = kept(older);
            let pruned = older.iter().filter(|(number, _)| then.contains(number));
            let left: Vec<_> = newer.iter().chain(pruned).copied().collect();
            prop_assert_eq!(kept(&left), kept(&all));
        }
    }
}
