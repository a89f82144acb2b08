//! Who answers a request: the gateway, the API, or nobody.
//!
//! The name in `Host` decides first. A foreign one is answered 421 and nothing else, because a page of somebody else's
//! has led a browser here (DNS rebinding). Then the path: `/notebook/…` is the gateway's, `/atelier/…` is what only
//! Atelier has, everything else is the API's.

use std::net::SocketAddr;
use std::sync::Arc;

use atelier_api::Docket;
use atelier_core::{Code, Entropy, Refusal};
use atelier_gateway::{Form, Gateway, Host, HostNames};
use atelier_wire::ApiError;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::proxies::Proxies;
use super::seeing::{Arrival, Seeing, length};
use super::throttle::Throttle;

/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// Whether TLS is spoken between them.
    pub(super) secure: bool,
}

/// What stands behind the front.
pub(super) struct Parts {
    pub(super) names: HostNames,
    pub(super) gateway: Gateway,
    pub(super) api: Router,
    pub(super) own: Router,
    pub(super) throttle: Arc<Throttle>,
    pub(super) proxies: Proxies,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) seeing: Seeing,
}

/// Sends every request to whom it is for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Front {
    parts: Arc<Parts>,
    notebooks: Router,
}

impl Front {
    pub(super) fn new(parts: Parts) -> Self {
        Self { notebooks: parts.gateway.path_router(), parts: Arc::new(parts) }
    }

    pub(super) async fn answer(&self, mut request: Request<Body>, ends: Ends) -> Response {
        let origin = self.parts.proxies.origin(request.headers(), ends);
        let id: Arc<str> = origin.request_id.map_or_else(|| self.new_id(), Arc::from);
        name_host(&mut request, origin.host.as_deref());
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(origin.client));
        if let Some(scheme) = origin.scheme {
            extensions.insert(scheme);
        }
        let mut arrival = self.parts.seeing.arrive(&mut request, origin.client, id);
        let span = tracing::info_span!("request", request_id = %arrival.docket.request_id(), method = %arrival.method,
            path = arrival.path);
        let mut response = self.routed(request, ends, &mut arrival).instrument(span).await;
        // A notebook's server may name its answer itself.
        if !response.headers().contains_key(&REQUEST_ID) {
            set_id(response.headers_mut(), arrival.docket.request_id());
        }
        let (status, bytes) = (response.status(), length(&response));
        self.parts.seeing.leave(&arrival, status, bytes).await;
        response
    }

    async fn routed(&self, mut request: Request<Body>, ends: Ends, arrival: &mut Arrival) -> Response {
        match self.host(&request, ends) {
            Host::Unknown => misdirected(&arrival.docket),
            Host::Notebook(notebook) => {
                arrival.is_visit = true;
                set_id(request.headers_mut(), arrival.docket.request_id());
                self.parts.gateway.handle(request, Form::Host, notebook).await
            }
            Host::Api => self.by_path(request, arrival).await,
        }
    }

    async fn by_path(&self, mut request: Request<Body>, arrival: &mut Arrival) -> Response {
        let path = request.uri().path();
        if path == "/notebook" || path.starts_with("/notebook/") {
            arrival.is_visit = true;
            set_id(request.headers_mut(), arrival.docket.request_id());
            return sent(&self.notebooks, request).await;
        }
        if !self.parts.throttle.admits(request.headers(), arrival.peer.ip()) {
            return self.throttled(&arrival.docket);
        }
        if path.starts_with("/atelier/") || path == "/metrics" {
            let mut response = sent(&self.parts.own, request).await;
            close(response.headers_mut());
            return response;
        }
        sent(&self.parts.api, request).await
    }

    /// The answer to a request that goes no further than the door.
    pub(super) fn refuse(&self, what: &Refusal) -> Response {
        refusal(what, &Docket::new(self.new_id()))
    }

    /// The name that was asked for. The address that a client has really connected to is always right: nobody can be
    /// led to it by a name.
    fn host(&self, request: &Request<Body>, ends: Ends) -> Host {
        match self.parts.names.of(request.headers(), request.uri()) {
            Host::Unknown if is_own_address(request, ends.local) => Host::Api,
            known => known,
        }
    }

    fn throttled(&self, docket: &Docket) -> Response {
        let message = format!("more than {} requests in a second; try again in a second", self.parts.throttle.rate());
        refusal(&Refusal::new(Code::Throttled, message), docket)
    }

    fn new_id(&self) -> Arc<str> {
        let mut random = [0; 16];
        self.parts.entropy.fill(&mut random);
        format!("{:032x}", u128::from_be_bytes(random)).into()
    }
}

fn misdirected(docket: &Docket) -> Response {
    let message = "this server does not go by the name in `Host`; see `server.public_url` and `gateway.domain`";
    refusal(&Refusal::new(Code::Misdirected, message), docket)
}

/// Gives a request the form of HTTP/1.1, which everything behind the front knows: the host in `Host`, nothing but path
/// and query in the target. HTTP/2 names the host in the target; when a `Host` says something else, both stay, and the
/// request is misdirected. `asked`: the host that a trusted proxy was asked for.
fn name_host(request: &mut Request<Body>, asked: Option<&str>) {
    if request.version() == Version::HTTP_2
        && let Some(authority) = request.uri().authority().cloned()
    {
        if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().entry(header::HOST).or_insert(value);
        }
        let mut named = request.headers().get_all(header::HOST).iter();
        let alike = named.all(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
        if let Some(target) = request.uri().path_and_query().cloned().filter(|_| alike) {
            *request.uri_mut() = target.into();
        }
    }
    if let Some(value) = asked.and_then(|asked| HeaderValue::from_str(asked).ok()) {
        request.headers_mut().insert(header::HOST, value);
    }
}

fn is_own_address(request: &Request<Body>, local: SocketAddr) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
    let same_target = request.uri().authority().is_none_or(|target| Some(target.as_str()) == host);
    same_target && host.is_some_and(|host| host.parse() == Ok(local))
}

async fn sent(router: &Router, request: Request<Body>) -> Response {
    router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

fn set_id(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
}

/// What nobody keeps and no browser takes for something else.
fn close(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A refusal in the shape of the API's.
pub(super) fn refusal(refusal: &Refusal, docket: &Docket) -> Response {
    let request_id = docket.request_id();
    docket.refuse(refusal.code().as_str(), refusal.message());
    let status = StatusCode::from_u16(refusal.code().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = ApiError {
        error_code: refusal.code().as_str().to_owned(),
        error_msg: refusal.message().to_owned(),
        request_id: Some(request_id.to_string()),
    };
    let mut response = (status, axum::Json(body)).into_response();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    set_id(response.headers_mut(), request_id);
    close(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str) -> bool {
        let request = Request::builder().uri("/v3").header("Host", host).body(Body::empty()).unwrap();
        is_own_address(&request, "192.0.2.7:8080".parse().unwrap())
    }

    fn named(uri: &str, host: Option<&str>, asked: Option<&str>, version: Version) -> (String, Vec<String>) {
        let mut request = Request::builder().uri(uri).version(version);
        if let Some(host) = host {
            request = request.header("Host", host);
        }
        let mut request = request.body(Body::empty()).unwrap();
        name_host(&mut request, asked);
        let hosts = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap().to_owned());
        (request.uri().to_string(), hosts.collect())
    }

    #[test]
    fn a_request_of_http_2_takes_the_form_of_http_1() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let plain = || ("/v3?x=%2f".to_owned(), vec!["a.example:8443".to_owned()]);
        let target = "https://a.example:8443/v3?x=%2f";
        assert_eq!(named(target, None, None, two), plain());
        assert_eq!(named(target, Some("a.example:8443"), None, two), plain());
        // Two names: the request stays as it is, and is misdirected.
        assert_eq!(
            named(target, Some("evil.example"), None, two),
            (target.to_owned(), vec!["evil.example".to_owned()])
        );
        assert_eq!(named("/v3?x=%2f", Some("inner:8080"), Some("a.example:8443"), one), plain());
        assert_eq!(named(target, None, Some("b.example"), two), (plain().0, vec!["b.example".to_owned()]));
        assert_eq!(named("/v3", Some("a"), Some("no\nname"), one), ("/v3".to_owned(), vec!["a".to_owned()]));
    }

    #[test]
    fn the_address_of_the_connection_is_a_right_name_and_no_other_is() {
        assert!(asked("192.0.2.7:8080"));
        for other in ["192.0.2.7", "192.0.2.7:80", "192.0.2.8:8080", "192.0.2.7.evil.example:8080", ""] {
            assert!(!asked(other), "{other}");
        }
        let twice = Request::builder().uri("/").header("Host", "192.0.2.7:8080").header("Host", "evil.example");
        assert!(!is_own_address(&twice.body(Body::empty()).unwrap(), "192.0.2.7:8080".parse().unwrap()));
    }
}
