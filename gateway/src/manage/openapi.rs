//! This API as OpenAPI 3.1, and a page that shows it. Both need nothing from the network.
//!
//! The descriptions are those of the code: `docs/openapi.json` is the same, and a test keeps it in step.

use std::sync::LazyLock;

use axum::response::{Html, IntoResponse};
use http::{HeaderValue, StatusCode, header};
use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, PathItem, Ref, RefOr, Required, Response, ResponseBuilder,
    SecurityRequirement, schema,
};

use super::problem::ProblemDetails;
use super::{catalog, events, logs, metrics, models, profiles, requests, servers, status, workers};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "magi",
        description = "One HTTP address for all models, and the management of the servers behind it.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        catalog::list,
        catalog::get,
        servers::list,
        servers::get,
        servers::explain,
        logs::tail,
        servers::start_all,
        servers::stop_all,
        servers::start_one,
        servers::stop_one,
        servers::restart_one,
        status::overview,
        models::registry,
        models::rescan,
        models::of_tier,
        models::set_tier,
        models::set_thinking,
        models::set_enabled,
        catalog::list_too,
        catalog::get_too,
        catalog::create,
        workers::list,
        profiles::list,
        profiles::get,
        profiles::create,
        profiles::delete,
        profiles::activate,
        requests::list,
        requests::get,
        requests::cancel,
        events::watch,
        status::root,
        status::health,
        status::readiness,
        metrics::scrape,
        describe,
        docs_page
    ),
    components(schemas(
        ProblemDetails,
        events::ServersChanged,
        events::RequestsEnded,
        events::Missed,
        events::Lost
    )),
    tags(
        (name = "inference", description = "What is carried to a server, and what can be asked for. \
            The bodies are those of OpenAI, Anthropic and llama.cpp, untouched. Errors are as their \
            clients know them, with a stable `code`."),
        (name = "servers", description = "What runs, and the commands that an operator gives."),
        (name = "models", description = "What discovery found, and what the user says of it."),
        (name = "profiles", description = "The files that define servers, and which is active."),
        (name = "activity", description = "What happens, and what is under way."),
        (name = "health", description = "Health, metrics, and this page.")
    )
)]
struct Described;

/// What is carried to servers.
const CARRIED: [(&str, &str); 17] = [
    (
        "/v1/chat/completions",
        "Answers a conversation, as OpenAI has it",
    ),
    ("/v1/completions", "Goes on with a text, as OpenAI has it"),
    ("/v1/responses", "Answers, as OpenAI's Responses API has it"),
    ("/v1/embeddings", "Makes vectors of texts"),
    ("/v1/rerank", "Rates how well texts answer a question"),
    ("/rerank", "Rates how well texts answer a question"),
    ("/reranking", "Rates how well texts answer a question"),
    (
        "/v1/messages",
        "Answers a conversation, as Anthropic has it",
    ),
    (
        "/v1/messages/count_tokens",
        "Counts the tokens of a conversation, as Anthropic has it",
    ),
    ("/infill", "Fills a gap in code"),
    ("/completion", "Goes on with a text, as llama.cpp has it"),
    ("/embedding", "Makes vectors of texts, as llama.cpp has it"),
    ("/tokenize", "Splits a text into tokens"),
    ("/detokenize", "Makes a text of tokens"),
    (
        "/apply-template",
        "Writes a conversation as the model is given it",
    ),
    (
        "/props",
        "What a server tells of itself; `model` is in the query",
    ),
    (
        "/upstream/{server}/{path}",
        "Anything else that a server answers, as it is",
    ),
];

/// The document, in JSON.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = document().to_pretty_json().expect("all keys are strings");
    document.push('\n');
    document
});

/// The page that shows it, with all that it needs.
pub(super) const PAGE: &str = include_str!("docs.html");

/// Nothing of the page comes from elsewhere, or goes there.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
);

/// This API as OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health",
    responses((status = 200, content_type = "application/json", body = Object))
)]
pub(super) async fn describe() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.as_str(),
    )
}

/// A page about this API.
#[utoipa::path(
    get, path = "/docs", tag = "health",
    responses((status = 200, content_type = "text/html", body = String))
)]
pub(super) async fn docs_page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(PAGE))
}

fn document() -> utoipa::openapi::OpenApi {
    let mut api = Described::openapi();
    for (path, summary) in CARRIED {
        api.paths
            .paths
            .insert(path.to_owned(), carried(path, summary));
    }
    for path in api.paths.paths.values_mut() {
        let methods = [
            &mut path.get,
            &mut path.put,
            &mut path.post,
            &mut path.delete,
        ];
        for operation in methods.into_iter().flatten() {
            operation
                .responses
                .responses
                .iter_mut()
                .for_each(describe_status);
        }
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(bearer));
    // Without keys in gateway.toml none is asked for.
    let anyone = SecurityRequirement::default();
    let key = SecurityRequirement::new::<_, _, &str>("key", []);
    api.security = Some(vec![anyone, key]);
    api
}

/// Says of an answer what its status says: the format asks for words.
fn describe_status((status, response): (&String, &mut RefOr<Response>)) {
    if let RefOr::T(response) = response
        && response.description.is_empty()
        && let Ok(status) = StatusCode::from_bytes(status.as_bytes())
    {
        let words = status.canonical_reason().unwrap_or_default();
        response.description = words.to_owned();
    }
}

/// A path whose requests go to a server as they are.
fn carried(path: &str, summary: &str) -> PathItem {
    let object = || {
        let object = ObjectBuilder::new().schema_type(schema::Type::Object);
        ContentBuilder::new().schema(Some(object.build())).build()
    };
    let problem = Ref::from_schema_name("Problem");
    let problem = ContentBuilder::new().schema(Some(problem)).build();
    let answer = ResponseBuilder::new()
        .description("The server's answer")
        .content("application/json", object());
    let refusal = ResponseBuilder::new()
        .description("Why there is none")
        .content("application/json", problem);
    let mut operation = OperationBuilder::new()
        .tag("inference")
        .summary(Some(summary))
        .response("200", answer)
        .response("default", refusal);
    for name in path.split(['{', '}']).skip(1).step_by(2) {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True);
        operation = operation.parameter(parameter);
    }
    if path == "/props" {
        let parameter = ParameterBuilder::new()
            .name("model")
            .parameter_in(ParameterIn::Query);
        return PathItem::new(HttpMethod::Get, operation.parameter(parameter));
    }
    let body = RequestBodyBuilder::new().content("application/json", object());
    PathItem::new(HttpMethod::Post, operation.request_body(Some(body.build())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::body::Body;
    use http::Request;
    use serde_json::Value;

    use super::*;
    use crate::access::needs;
    use crate::manage::tests::router;

    #[test]
    fn the_description_is_in_step_with_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, DOCUMENT.as_str()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == *DOCUMENT,
            "docs/openapi.json is out of date: run `cargo xtask generate`"
        );
    }

    #[tokio::test]
    async fn every_path_that_is_described_is_there() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let router = router();
        for (path, operations) in document["paths"].as_object().unwrap() {
            if CARRIED.iter().any(|(carried, _)| carried == path) {
                continue;
            }
            for method in operations.as_object().unwrap().keys() {
                let request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(path.replace(['{', '}'], ""))
                    .body(Body::empty())
                    .unwrap();
                let response = crate::manage::answer(&router, request).await;
                let status = response.status();
                assert_ne!(status, 405, "{method} {path}");
                let body = response.into_body();
                if status == 404 {
                    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                    let body = String::from_utf8_lossy(&body).into_owned();
                    assert!(!body.contains("no-such-path"), "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn every_path_that_is_described_has_a_scope() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                let method = method.to_uppercase().parse().unwrap();
                assert!(needs(&method, path).is_some(), "{method} {path}");
            }
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(!PAGE.contains("//cdn"));
        assert!(!PAGE.contains("https://"));
    }
}
