//! Refusals as their clients see them.

use tonic_types::ErrorDetails;

use super::*;

fn body(refusal: &Refusal, shape: Shape) -> Value {
    serde_json::from_slice(refusal.respond(shape).body()).unwrap()
}

fn status(code: Code, reason: &str, retry: Option<Duration>) -> Status {
    let mut details =
        ErrorDetails::with_error_info(reason, "magi", std::collections::HashMap::new());
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    Status::with_error_details(code, "because", details)
}

#[test]
fn the_data_path_answers_in_the_shape_of_its_clients() {
    let refusal = Refusal::new(Reason::NoSuchModel, "no model is called b");
    let openai = json!({ "error": {
        "message": "no model is called b", "type": "invalid_request_error",
        "param": "model", "code": "no-such-model",
    } });
    assert_eq!(body(&refusal, Shape::OpenAi), openai);
    let anthropic = json!({ "type": "error", "error": {
        "type": "not_found_error", "message": "no model is called b", "code": "no-such-model",
    } });
    assert_eq!(body(&refusal, Shape::Anthropic), anthropic);
    assert_eq!(
        refusal.respond(Shape::OpenAi).status(),
        StatusCode::NOT_FOUND
    );
}

#[test]
fn management_answers_with_problem_details() {
    let refusal = Refusal::new(Reason::ControlDenied, "no");
    let response = refusal.respond(Shape::Problem);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let expected = json!({
        "type": "about:blank", "title": "Forbidden", "status": 403,
        "detail": "no", "reason": "control-denied",
    });
    assert_eq!(body(&refusal, Shape::Problem), expected);
}

#[test]
fn a_path_says_which_shape_its_clients_know() {
    for (path, shape) in [
        ("/v1/chat/completions", Shape::OpenAi),
        ("/v1/messages", Shape::Anthropic),
        ("/v1/messages/count_tokens", Shape::Anthropic),
        ("/v1/messagesx", Shape::OpenAi),
        ("/tokenize", Shape::OpenAi),
        ("/upstream/a/slots", Shape::OpenAi),
        ("/models", Shape::OpenAi),
        ("/api/models/servers", Shape::Problem),
        ("/health/ready", Shape::Problem),
        ("/", Shape::Problem),
    ] {
        assert_eq!(Shape::of(path), shape, "{path}");
    }
}

#[test]
fn an_event_is_one_whole_event_whatever_the_message_holds() {
    let refusal = Refusal::new(Reason::UpstreamBroken, "two\n\nlines");
    for (shape, beginning) in [
        (Shape::OpenAi, "data: {\"error\":"),
        (Shape::Anthropic, "event: error\ndata: {\"error\":"),
    ] {
        let event = String::from_utf8(refusal.event(shape).to_vec()).unwrap();
        assert!(event.starts_with(beginning), "{event}");
        assert_eq!(event.find("\n\n"), Some(event.len() - 2));
    }
}

#[test]
fn the_time_to_ask_again_is_never_too_early() {
    let header = |millis| {
        let refusal = Refusal::new(Reason::QueueFull, "");
        let refusal = refusal.retry_after(Duration::from_millis(millis));
        let response = refusal.respond(Shape::OpenAi);
        response.headers()[RETRY_AFTER].to_str().unwrap().to_owned()
    };
    assert_eq!(header(0), "1");
    assert_eq!(header(2_000), "2");
    assert_eq!(header(2_001), "3");
}

#[test]
fn an_answer_that_asks_for_a_key_says_how() {
    let response = Refusal::new(Reason::KeyRequired, "").respond(Shape::OpenAi);
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
}

#[test]
fn what_magid_says_keeps_its_reason_and_its_time() {
    let half_a_minute = Some(Duration::from_secs(30));
    let crashed = Refusal::from(status(Code::Unavailable, "assert", half_a_minute));
    assert_eq!(crashed.reason.code(), "assert");
    assert_eq!(crashed.reason.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(crashed.retry_after, half_a_minute);
    assert_eq!(crashed.message, "because");

    let held = Refusal::from(status(Code::FailedPrecondition, "held", None));
    assert_eq!(held.reason, Reason::Held);
    let large = Refusal::from(status(Code::FailedPrecondition, "does-not-fit", None));
    assert_eq!(large.reason.status(), StatusCode::SERVICE_UNAVAILABLE);
    let active = Refusal::from(status(Code::FailedPrecondition, "profile-active", None));
    assert_eq!(active.reason.status(), StatusCode::CONFLICT);
    let denied = Refusal::from(status(Code::PermissionDenied, "control-denied", None));
    assert_eq!(denied.reason, Reason::ControlDenied);
}

#[test]
fn a_call_that_nobody_answers_says_that_magid_is_away() {
    let lost = Refusal::from(Status::unavailable("connection refused"));
    assert_eq!(lost.reason, Reason::MagidAway);
    assert!(lost.retry_after.is_some());
    let bug = Refusal::from(Status::internal("oh"));
    assert_eq!(bug.reason.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn a_body_that_cannot_be_read_is_the_clients_fault() {
    let error = crate::body::Walk::default()
        .find(b"{\"model\":1}")
        .unwrap_err();
    let refusal = Refusal::from(error);
    assert_eq!(refusal.reason, Reason::ModelNotAString);
    assert_eq!(refusal.reason.status(), StatusCode::BAD_REQUEST);
}
