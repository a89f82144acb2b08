//! What of a message's head passes, in both directions.
//!
//! Up: nothing that belongs to the connection, nothing that proves who the visitor is, nothing that claims to come from
//! a proxy; instead the upstream secret and our own `X-Forwarded-*`. Down: nothing that belongs to the connection,
//! nothing that holds the secret, and nothing by which one notebook could act on names that it shares with others.

use std::net::IpAddr;

use atelier_engine::Route;
use http::header;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use crate::config::Scheme;
use crate::credential::{COOKIE, is_session_cookie};
use crate::visit::{Form, Visit};

/// What the notebook server believes its own name to be.
const UPSTREAM_HOST: &str = "localhost";
const UPSTREAM_ORIGIN: &str = "http://localhost";

/// About one connection, not about the message (RFC 9110, 7.6.1), beside what `Connection` itself names.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Claims that only a proxy may make.
const CLAIMS: &[&str] = &["forwarded", "x-real-ip", "x-scheme", "x-client-ip", "x-original-url", "x-rewrite-url"];

/// What acts on more than the one origin that the answer comes from, or on the whole connection.
const FAR_REACHING: &[&str] = &["alt-svc", "clear-site-data", "public-key-pins", "strict-transport-security"];

/// What the head for the notebook server is made from.
pub(crate) struct Up<'a> {
    pub(crate) visit: &'a Visit,
    pub(crate) route: &'a Route,
    pub(crate) scheme: Scheme,
    pub(crate) from: Option<IpAddr>,
    /// The visitor's `Origin` is the notebook's own.
    pub(crate) own_origin: bool,
}

/// The headers for the notebook server.
pub(crate) fn upward(mut headers: HeaderMap, up: &Up<'_>) -> HeaderMap {
    drop_hop_by_hop(&mut headers);
    drop_proofs(&mut headers, up.visit.form);
    drop_claims(&mut headers);
    // Answered by this server itself, once the body is wanted.
    headers.remove(header::EXPECT);
    headers.insert(header::HOST, HeaderValue::from_static(UPSTREAM_HOST));
    if up.own_origin {
        headers.insert(header::ORIGIN, HeaderValue::from_static(UPSTREAM_ORIGIN));
    }
    if let Ok(mut secret) = HeaderValue::from_str(&format!("token {}", up.route.upstream_secret.expose_secret())) {
        secret.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, secret);
    }
    if up.visit.upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    forwarded(&mut headers, up);
    headers
}

fn forwarded(headers: &mut HeaderMap, up: &Up<'_>) {
    let from = up.from.map(|ip| ip.to_string());
    let prefix = (!up.visit.prefix.is_empty()).then(|| up.visit.prefix.clone());
    let claims = [
        ("x-forwarded-proto", Some(up.scheme.as_str().to_owned())),
        ("x-forwarded-host", up.visit.host.clone()),
        ("x-forwarded-for", from),
        ("x-forwarded-prefix", prefix),
    ];
    for (name, value) in claims {
        if let Some(value) = value.and_then(|v| HeaderValue::from_str(&v).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Drops everything that shows who the visitor is. In the path form that is every cookie: they are the API's.
fn drop_proofs(headers: &mut HeaderMap, form: Form) {
    headers.remove(header::AUTHORIZATION);
    let cookies: Vec<HeaderValue> = match form {
        Form::Host => headers.get_all(header::COOKIE).iter().filter_map(without_session).collect(),
        Form::Path => Vec::new(),
    };
    replace(headers, &header::COOKIE, joined(&cookies).into_iter().collect());
    // A program's page, or a browser that was sent here from one, may name an address with a token in it.
    if headers.get(header::REFERER).is_some_and(|r| contains(r.as_bytes(), b"token=")) {
        headers.remove(header::REFERER);
    }
}

/// All cookies in one header: HTTP/2 may send each by itself, HTTP/1.1 must not (RFC 9113, 8.2.3).
fn joined(cookies: &[HeaderValue]) -> Option<HeaderValue> {
    let all = cookies.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    (!all.is_empty()).then(|| HeaderValue::from_bytes(&all).ok()).flatten()
}

/// A `Cookie` header without the gateway's own; `None` when nothing is left.
fn without_session(value: &HeaderValue) -> Option<HeaderValue> {
    let pairs = value.as_bytes().split(|b| *b == b';').filter(|p| !is_session_cookie(p) && !p.trim_ascii().is_empty());
    let left = pairs.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(&b"; "[..]);
    (!left.is_empty()).then(|| HeaderValue::from_bytes(&left).ok()).flatten()
}

fn drop_claims(headers: &mut HeaderMap) {
    let claims = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-forwarded-") || name.starts_with("proxy-") || CLAIMS.contains(&name)
    };
    let named: Vec<_> = headers.keys().filter(|n| claims(n)).cloned().collect();
    remove_all(headers, &named);
}

/// The headers for the visitor.
pub(crate) fn downward(mut headers: HeaderMap, visit: &Visit, route: &Route) -> HeaderMap {
    drop_hop_by_hop(&mut headers);
    let secret = route.upstream_secret.expose_secret().as_bytes();
    let shared = |name: &HeaderName| FAR_REACHING.contains(&name.as_str()) || name.as_str().starts_with("proxy-");
    let named: Vec<_> = headers.keys().filter(|n| shared(n)).cloned().collect();
    remove_all(&mut headers, &named);
    drop_values(&mut headers, |value| contains(value.as_bytes(), secret));
    let cookies: Vec<HeaderValue> = match visit.form {
        Form::Host => headers.get_all(header::SET_COOKIE).iter().filter(|c| stays_at_home(c)).cloned().collect(),
        Form::Path => Vec::new(),
    };
    replace(&mut headers, &header::SET_COOKIE, cookies);
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        if let Some(here) = headers.get(&name).and_then(|v| relocated(v, visit)) {
            headers.insert(name, here);
        }
    }
    if visit.form == Form::Path {
        headers.remove("service-worker-allowed");
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    headers
}

/// Whether a `Set-Cookie` is for this host only, and not the gateway's own.
fn stays_at_home(cookie: &HeaderValue) -> bool {
    let mut parts = cookie.as_bytes().split(|b| *b == b';');
    let named = |part: &[u8]| part.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let ours = parts.next().is_some_and(|pair| named(pair) == COOKIE.to_ascii_lowercase().as_bytes());
    !ours && !parts.any(|attribute| named(attribute) == b"domain")
}

/// Where a redirect leads from the visitor's side: the notebook server knows neither its public name nor the path
/// form's prefix. `None`: it may stay as it is.
fn relocated(value: &HeaderValue, visit: &Visit) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let absolute =
        text.strip_prefix(UPSTREAM_ORIGIN).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    let path = absolute.or_else(|| (text.starts_with('/') && !text.starts_with("//")).then_some(text))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    HeaderValue::from_str(&format!("{}{slash}{path}", visit.prefix)).ok()
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let nominated = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let mut named: Vec<HeaderName> =
        nominated.flat_map(|v| v.split(',')).filter_map(|n| n.trim().parse().ok()).collect();
    named.extend(HOP_BY_HOP.iter().map(|name| HeaderName::from_static(name)));
    // The length is the message's own, whatever the sender calls it.
    named.retain(|name| *name != header::CONTENT_LENGTH);
    remove_all(headers, &named);
}

fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

/// Drops every header that has one value of this kind.
fn drop_values(headers: &mut HeaderMap, wrong: impl Fn(&HeaderValue) -> bool) {
    let named: Vec<HeaderName> =
        headers.iter().filter(|(_, value)| wrong(value)).map(|(name, _)| name.clone()).collect();
    for name in named {
        let kept = headers.get_all(&name).iter().filter(|v| !wrong(v)).cloned().collect();
        replace(headers, &name, kept);
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}
