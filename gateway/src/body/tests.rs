//! Bodies as clients send them, and as attackers do.

use super::*;

fn find(body: &[u8]) -> Result<Asked<'_>, BodyError> {
    Walk::default().find(body)
}

fn asked(body: &str) -> Asked<'_> {
    find(body.as_bytes()).unwrap()
}

fn model(body: &str) -> Option<String> {
    asked(body).model.map(Cow::into_owned)
}

fn problem(body: &[u8]) -> (Problem, usize) {
    match find(body).unwrap_err() {
        BodyError::InvalidJson { at, problem } => (problem, at),
        other => panic!("{other}"),
    }
}

#[test]
fn the_top_level_model_and_stream_are_found() {
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"model":"alpha","stream":true}"#;
    assert_eq!(asked(body).model.as_deref(), Some("alpha"));
    assert!(asked(body).stream);
    assert!(matches!(asked(body).model, Some(Cow::Borrowed(_))));
}

#[test]
fn a_body_need_not_name_a_model() {
    assert_eq!(asked("{}"), Asked::default());
    assert_eq!(asked(" { \"prompt\" : \"x\" }\n"), Asked::default());
}

#[test]
fn a_model_that_is_deeper_down_does_not_count() {
    let body = r#"{"a":{"model":"b","c":[{"model":1}]},"b":["model"],"model":"alpha"}"#;
    assert_eq!(model(body).as_deref(), Some("alpha"));
    assert_eq!(model(r#"{"content":"\",\"model\":\"b\""}"#), None);
}

#[test]
fn escapes_in_names_and_values_are_decoded() {
    let body = r#"{"mode\u006c":"al\u0070h\/a \ud83d\ude00\n"}"#;
    assert_eq!(model(body).as_deref(), Some("alph/a \u{1f600}\n"));
    assert!(asked(r#"{"\u0073tream":true}"#).stream);
}

#[test]
fn names_are_compared_as_they_are() {
    assert_eq!(model(r#"{"Model":"a","model ":"b","modelx":"c"}"#), None);
}

#[test]
fn a_second_model_is_refused_however_it_is_written() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","model":"a"}"#,
        r#"{"model":"a","x":{},"m\u006fdel":"b"}"#,
    ] {
        assert_eq!(find(body.as_bytes()), Err(BodyError::DuplicateModel));
    }
    let body = br#"{"stream":false,"stream":true}"#;
    assert_eq!(find(body), Err(BodyError::DuplicateStream));
}

#[test]
fn a_model_that_is_no_string_is_refused() {
    for value in ["1", "null", "true", "[\"a\"]", "{\"model\":\"a\"}"] {
        let body = format!("{{\"model\":{value}}}");
        assert_eq!(find(body.as_bytes()), Err(BodyError::ModelNotAString));
    }
}

#[test]
fn only_true_is_a_stream() {
    for value in ["false", "null", "1", "\"true\"", "[true]"] {
        assert!(!asked(&format!("{{\"stream\":{value}}}")).stream);
    }
}

#[test]
fn what_ends_too_early_is_told_as_such() {
    let whole = r#"{"a":[1.5e3,{"b":"\u0041"}],"model":"x"}"#;
    for length in 0..whole.len() {
        let body = &whole.as_bytes()[..length];
        assert!(
            matches!(problem(body).0, Problem::Truncated | Problem::Escape),
            "{}",
            &whole[..length]
        );
    }
}

#[test]
fn what_other_readers_may_mend_is_refused() {
    for (body, at) in [
        ("\u{feff}{}", 0),
        ("{}{}", 2),
        ("{}\0", 2),
        ("[]", 0),
        ("{\"a\":1,}", 7),
        ("{\"a\":01}", 6),
        ("{\"a\":.5}", 5),
        ("{\"a\":+1}", 5),
        ("{\"a\":NaN}", 5),
        ("{\"a\":tru}", 8),
        ("{a:1}", 1),
        ("{'a':1}", 1),
        ("{\"a\":1 /* */}", 7),
        ("{\"a\":[1 2]}", 8),
        ("{\"a\":[1}]", 7),
        ("{\"a\":\"\n\"}", 6),
    ] {
        assert_eq!(
            problem(body.as_bytes()),
            (Problem::Unexpected, at),
            "{body}"
        );
    }
}

#[test]
fn an_escape_that_stands_for_nothing_is_refused() {
    for escape in [
        "\\x",
        "\\u12",
        "\\u12g4",
        "\\ud800",
        "\\udc00",
        "\\ud800\\u0041",
        "\\u+123",
    ] {
        let body = format!("{{\"a\":\"{escape}\"}}");
        assert_eq!(problem(body.as_bytes()), (Problem::Escape, 6), "{escape}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    assert_eq!(problem(b"{\"a\":\"\xff\"}"), (Problem::NotUtf8, 6));
}

#[test]
fn nesting_is_bounded_where_serde_json_bounds_it() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let deepest = usize::try_from(MAX_DEPTH).unwrap() - 1;
    let fits = nested(deepest);
    assert_eq!(asked(&fits), Asked::default());
    assert!(serde_json::from_str::<serde_json::Value>(&fits).is_ok());
    let deeper = nested(deepest + 1);
    assert_eq!(problem(deeper.as_bytes()).0, Problem::TooDeep);
    assert!(serde_json::from_str::<serde_json::Value>(&deeper).is_err());
    assert_eq!(problem(nested(1_000_000).as_bytes()).0, Problem::TooDeep);
}

#[test]
fn strings_longer_than_a_block_are_walked_over_to_their_end() {
    for length in 0..200 {
        let text = "\u{e4}".repeat(length);
        let body = format!("{{\"a\":\"{text}\\\"{text}\",\"model\":\"{text}\"}}");
        assert_eq!(model(&body), Some(text));
    }
}

#[test]
fn what_comes_a_byte_at_a_time_asks_for_the_same() {
    for body in [
        r#"{"a":[-1.5e+3,{"b":"\u0041\ud83d\ude00\n"}],"model":"äö\"€😀","stream":true} "#,
        r#"{"a":"\ud83d","model":"x"}"#,
        r#"{"a":[true,false,null,0.0e-00],"model":"x","mod\u0065l":"y"}"#,
        r#"{"a":1.e5}"#,
        r#"{"a":-}"#,
        r#"{"a":tru}"#,
        r#"{"model":{"a":"b"}}"#,
        r#"{}}"#,
        r#"{"a":"\u00"#,
        r#"{"a":0"#,
    ] {
        let body = body.as_bytes();
        let mut walk = Walk::default();
        (0..body.len()).for_each(|length| walk.look(&body[..length]));
        assert_eq!(walk.find(body), find(body), "{}", body.escape_ascii());
    }
}

#[test]
fn a_character_that_is_cut_in_two_is_waited_for_but_not_for_ever() {
    let body = "{\"a\":\"\u{20ac}\"}".as_bytes();
    let mut walk = Walk::default();
    walk.look(&body[..7]);
    assert_eq!(walk.find(body), Ok(Asked::default()));
    assert_eq!(problem(&body[..8]), (Problem::NotUtf8, 6));
}
