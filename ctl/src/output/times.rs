//! Durations and times, for people and from people.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads `90s`, `2m`, `1m 30s`, or whole seconds.
///
/// # Errors
///
/// It is none of these, or not more than zero.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a duration such as 90s or 2m, or whole seconds".to_owned())
}

/// A duration in its two largest units, as `4m12s`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d{:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{:02}s", seconds % 60)
    } else if seconds > 0 || duration.is_zero() {
        format!("{seconds}s")
    } else {
        format!("{}ms", duration.as_millis().max(1))
    }
}

/// How long something took, where tenths of a second count: `12ms`, `1.8s`, then as [`short`].
pub(crate) fn precise(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.9995 => format!("{:.0}ms", seconds.max(0.0) * 1e3),
        seconds if seconds < 99.95 => format!("{seconds:.1}s"),
        seconds => Duration::try_from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), short),
    }
}

/// The time from `then` to `now`, [`short`]; zero if the clocks disagree.
pub(crate) fn since(then: Timestamp, now: Timestamp) -> String {
    let whole_seconds = now.duration_since(then).as_secs();
    short(Duration::from_secs(
        u64::try_from(whole_seconds).unwrap_or(0),
    ))
}

/// A time of the clock on the wall, with its date.
pub(crate) fn clock(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_a_unit_or_as_seconds() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        for bad in [
            "",
            "0",
            "0s",
            "-3s",
            "soon",
            "1mo",
            "1.5",
            "99999999999999999999",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        let shown = |seconds| short(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(59), "59s");
        assert_eq!(shown(61), "1m01s");
        assert_eq!(shown(7_320), "2h02m");
        assert_eq!(shown(90_000), "1d01h");
        assert_eq!(short(Duration::from_millis(500)), "500ms");
        assert_eq!(short(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn what_took_less_than_two_minutes_has_tenths_of_seconds() {
        let shown = [
            0.0004,
            0.012,
            0.9999,
            1.84,
            99.9,
            150.0,
            -1.0,
            f64::INFINITY,
        ]
        .map(precise);
        let wanted = ["0ms", "12ms", "1.0s", "1.8s", "99.9s", "2m30s", "0ms", "-"];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_clock_that_was_set_back_shows_zero() {
        let then = Timestamp::from_second(100).unwrap();
        let now = Timestamp::from_second(40).unwrap();
        assert_eq!(since(then, now), "0s");
        assert_eq!(since(now, then), "1m00s");
    }

    #[test]
    fn times_are_shown_with_their_date() {
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(clock(time, &TimeZone::UTC), "2023-11-14 22:13:20");
    }
}
