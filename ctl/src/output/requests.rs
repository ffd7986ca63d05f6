//! Requests, one a line. They are a log and no table: a line is never cut, and columns are as wide as
//! what they mostly hold.

use jiff::tz::TimeZone;

use super::text::printable;
use super::{times, words};
use crate::view::FinishedRequest;

/// What stands above the lines.
pub(crate) fn heading() -> String {
    row([
        "AT", "MODEL", "STATUS", "WAITED", "FIRST", "TOOK", "TOKENS", "TOK/S", "OUTCOME",
    ])
}

/// A request.
pub(crate) fn line(request: &FinishedRequest, zone: &TimeZone) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let duration = |seconds: Option<f64>| or_none(seconds.map(times::precise));
    row([
        &or_none(request.at.map(|at| times::clock(at, zone))),
        &or_none(model(request)),
        &request.status.to_string(),
        &duration(request.waited_seconds),
        &duration(request.first_byte_seconds),
        &duration(request.took_seconds),
        &or_none(request.tokens.map(|count| count.to_string())),
        &or_none(request.tokens_per_second.map(words::speed)),
        &outcome(request),
    ])
}

/// What was asked for, and what that was if it has another name.
fn model(request: &FinishedRequest) -> Option<String> {
    match (&request.model, &request.server) {
        (Some(model), Some(server)) if model != server => Some(format!("{model} = {server}")),
        (Some(name), _) | (None, Some(name)) => Some(name.clone()),
        (None, None) => None,
    }
}

/// How it ended, as `refused: queue-full  /v1/chat/completions`.
fn outcome(request: &FinishedRequest) -> String {
    let reason = request.reason.iter().map(|reason| format!(": {reason}"));
    let reason: String = reason.collect();
    format!("{}{reason}  {}", request.outcome, request.path)
}

fn row(cells: [&str; 9]) -> String {
    let [
        at,
        model,
        status,
        waited,
        first,
        took,
        tokens,
        speed,
        outcome,
    ] = cells;
    printable(&format!(
        "{at:<19}  {model:<20}  {status:>6}  {waited:>6}  {first:>6}  {took:>6}  {tokens:>6}  \
         {speed:>5}  {outcome}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use magi_proto::v1;
    use prost_types::{Duration, Timestamp};

    fn millis(count: i32) -> Option<Duration> {
        Some(Duration {
            seconds: i64::from(count / 1000),
            nanos: count % 1000 * 1_000_000,
        })
    }

    #[test]
    fn requests_stand_under_one_another() {
        let done = v1::FinishedRequest {
            at: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            model: "gpt-4o-mini".to_owned(),
            server: "fast".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            status: 200,
            outcome: "done".to_owned(),
            waited: millis(2),
            first_byte: millis(120),
            took: millis(1840),
            tokens: Some(64),
            tokens_per_second: Some(41.7),
            ..Default::default()
        };
        let refused = v1::FinishedRequest {
            server: String::new(),
            model: "gpt-5".to_owned(),
            status: 404,
            outcome: "refused".to_owned(),
            reason: "no-such-model".to_owned(),
            first_byte: None,
            tokens: None,
            tokens_per_second: None,
            ..done.clone()
        };
        let lines: Vec<_> = [done, refused]
            .map(|request| line(&request.into(), &TimeZone::UTC))
            .into();
        insta::assert_snapshot!(format!("{}\n{}", heading(), lines.join("\n")), @"
        AT                   MODEL                 STATUS  WAITED   FIRST    TOOK  TOKENS  TOK/S  OUTCOME
        2023-11-14 22:13:20  gpt-4o-mini = fast       200     2ms   120ms    1.8s      64     42  done  /v1/chat/completions
        2023-11-14 22:13:20  gpt-5                    404     2ms       -    1.8s       -      -  refused: no-such-model  /v1/chat/completions
        ");
    }
}
