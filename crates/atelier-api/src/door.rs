//! What every request passes on its way in and every answer on its way out, whatever it asks for.
//!
//! In: a request id on a docket and a span for the log, unless the request brings its docket from further out (what a
//! client calls it is only logged: it must not be able to forge another's); the check of the Host header, and the path in
//! its normal spelling. Out: the body of refusals, the headers that every answer
//! has, and an answer also when a handler panicked.
//!
//! The log has the path, never the query string: tokens travel in query strings.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use atelier_core::Entropy;
use atelier_core::refusal::{Code, Refusal};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};
use tower::ServiceExt;
use tracing::{Instrument, Span};

use crate::answer::{Family, Refused};
use crate::docket::Docket;
use crate::target;

/// The header that names a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request target as it was sent: signatures are computed over it.
#[derive(Clone, Debug)]
pub(crate) struct SentTarget(pub(crate) Uri);

/// The door before a router.
#[derive(Clone)]
pub(crate) struct Door {
    inner: Router,
    entropy: Arc<dyn Entropy>,
    hosts: Arc<[String]>,
}

impl Door {
    /// A door that lets in requests for these host names, for `localhost` and for bare addresses.
    pub(crate) fn before(inner: Router, entropy: Arc<dyn Entropy>, hosts: Vec<String>) -> Router {
        let door = Self { inner, entropy, hosts: hosts.into() };
        Router::new().fallback_service(tower::service_fn(move |request| door.clone().pass(request)))
    }

    async fn pass(self, mut request: Request) -> Result<Response, std::convert::Infallible> {
        let family = Family::of(request.uri().path());
        // Whoever stands before this door and gave the request a docket has named and logs it.
        let (docket, span) = match Docket::of(request.extensions()) {
            Some(docket) => (docket.clone(), Span::none()),
            None => self.docket(&mut request),
        };
        let id = docket.request_id().clone();
        let answer = async move {
            log_client_id(request.headers());
            let routed = AssertUnwindSafe(self.admit(request)).catch_unwind().await;
            finish(routed.unwrap_or_else(|_| panicked()), family, &id, &docket)
        };
        Ok(answer.instrument(span).await)
    }

    fn docket(&self, request: &mut Request) -> (Arc<Docket>, Span) {
        let docket = Docket::new(self.new_id());
        request.extensions_mut().insert(docket.clone());
        let span = tracing::info_span!("request", request_id = %docket.request_id(), method = %request.method(),
            path = request.uri().path());
        (docket, span)
    }

    async fn admit(self, mut request: Request) -> Response {
        if !self.knows(&request) {
            let message = "this server does not go by the name in `Host`; see `server.public_url`";
            return Refused::from(Refusal::new(Code::Misdirected, message)).into_response();
        }
        let sent = request.uri().clone();
        *request.uri_mut() = target::normal(&sent);
        request.extensions_mut().insert(SentTarget(sent));
        self.inner.oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// 32 hexadecimal digits.
    fn new_id(&self) -> Arc<str> {
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        format!("{:032x}", u128::from_be_bytes(random)).into()
    }

    /// Whether the request is meant for us. A foreign name means that a browser was led here (DNS rebinding); a browser
    /// cannot be led to a bare address or to `localhost` in that way. Programs may leave Host out.
    fn knows(&self, request: &Request) -> bool {
        let header = request.headers().get(HOST).map(|value| value.to_str().unwrap_or_default());
        let Some(host) = header.or(request.uri().authority().map(Authority::as_str)) else { return true };
        let name = target::host_name(host).to_ascii_lowercase();
        let local = name == "localhost" || name.ends_with(".localhost");
        local || target::is_address(&name) || self.hosts.contains(&name)
    }
}

/// Bounded and escaped: whatever a client sends must not shape the log.
fn log_client_id(headers: &HeaderMap) {
    if let Some(theirs) = headers.get(REQUEST_ID) {
        let shown: String = String::from_utf8_lossy(theirs.as_bytes()).chars().take(64).collect();
        tracing::debug!(client_request_id = ?shown, "the client calls this request by an id of its own");
    }
}

/// The hook of the process has already logged where.
fn panicked() -> Response {
    tracing::error!("a handler panicked");
    Refused::from(Refusal::internal()).into_response()
}

fn finish(mut response: Response, family: Family, id: &str, docket: &Docket) -> Response {
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        docket.refuse(refused.code(), refused.message());
        let mut headers = std::mem::take(response.headers_mut());
        // That of the empty body that stood for the refusal.
        headers.remove(CONTENT_LENGTH);
        response = refused.render(family, id);
        for (name, value) in &headers {
            if !response.headers().contains_key(name) {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
    }
    let status = response.status();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    if status == StatusCode::NOT_FOUND {
        // The router names the methods that it has, also those which only say that they are not offered.
        headers.remove(ALLOW);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        headers.entry(RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;

    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0x11);
        }
    }

    async fn answer(inner: Router, target: &str) -> (u16, HeaderMap, serde_json::Value) {
        let door = Door::before(inner, Arc::new(Ones), vec![]);
        let response = door.oneshot(Request::get(target).body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_too() {
        async fn boom() {
            panic!("not for the client");
        }
        let router = || Router::new().route("/v1/boom", get(boom)).route("/v3/boom", get(boom));
        let (status, headers, body) = answer(router(), "/v1/boom").await;
        assert_eq!((status, body["error_code"].as_str()), (500, Some("ModelArts.0010")));
        assert_eq!(body["request_id"], "1".repeat(32));
        assert_eq!(headers["x-request-id"], "1".repeat(32).as_str());
        assert!(!body.to_string().contains("not for the client"));
        let (status, _, body) = answer(router(), "/v3/boom").await;
        assert_eq!((status, body["error"]["title"].as_str()), (500, Some("Internal Server Error")));
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_headers_that_a_handler_gave_it() {
        let refuse = async || {
            let refused = Refused::from(Refusal::new(Code::Throttled, "slower"));
            ([(RETRY_AFTER, "7")], refused)
        };
        let (status, headers, body) =
            answer(Router::new().route("/v1/demanager/x", get(refuse)), "/v1/demanager/x").await;
        assert_eq!((status, &headers[RETRY_AFTER]), (429, &HeaderValue::from_static("7")));
        assert_eq!((&body["error_message"], &body["error_msg"]), (&"slower".into(), &"slower".into()));
    }
}
