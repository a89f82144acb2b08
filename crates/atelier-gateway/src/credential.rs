//! What a visitor shows, and whether it opens the notebook.
//!
//! The cookie holds no token: it holds an HMAC over the notebook's id and its present token, under the upstream secret,
//! which no visitor ever sees. So a cookie that leaks opens one notebook until its next start and nothing else, in
//! particular not the path form or the API's idea of the token; and nothing has to be kept to check it.

use std::fmt;

use atelier_engine::Route;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The name of the gateway's cookie. By its prefix a browser takes it only as `Secure`, for `/` and for exactly one
/// host: a notebook cannot set it for its neighbours.
pub const COOKIE: &str = "__Host-atelier-notebook";

/// One start of a notebook, as a value that is easy to compare and hard to guess: what the cookie holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session([u8; 32]);

impl Session {
    /// The session of the notebook's present start.
    pub(crate) fn of(route: &Route) -> Self {
        let mut key = [0; 64];
        key[..32].copy_from_slice(&Sha256::digest(route.upstream_secret.expose_secret()));
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(b"atelier notebook session 1\0");
        mac.update(route.id.as_uuid().as_bytes());
        mac.update(route.token.expose_secret().as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// The cookie's value: 64 hexadecimal digits.
    pub(crate) fn value(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut out, byte| {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(nibble.into(), 16).unwrap_or_default());
            }
            out
        })
    }

    /// The `Set-Cookie` that opens this session. It ends with the browser's.
    pub(crate) fn set_cookie(&self) -> Option<HeaderValue> {
        let text = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", self.value());
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

/// Everything a visitor shows. Not `Debug`: it holds secrets.
#[derive(Default)]
pub(crate) struct Shown {
    /// From `?token=`.
    pub(crate) query: Vec<Vec<u8>>,
    header: Vec<Vec<u8>>,
    cookie: Vec<Vec<u8>>,
}

/// Which kind of credential opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// `?token=`.
    Query,
    /// `Authorization`.
    Header,
    /// The cookie, and nothing else: the request may be another page's doing.
    Cookie,
}

/// What became of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It opens.
    Right(Opened),
    /// Something was shown, and it was wrong or old.
    Wrong,
    /// Nothing was shown.
    Missing,
}

impl Shown {
    /// What the headers and the query show. `cookies`: whether cookies count at all.
    pub(crate) fn read(headers: &HeaderMap, query: Vec<Vec<u8>>, cookies: bool) -> Self {
        let header = headers.get_all(header::AUTHORIZATION).iter().filter_map(authorization).collect();
        let cookie = if cookies { session_cookies(headers) } else { Vec::new() };
        Self { query, header, cookie }
    }

    /// Whether this opens the notebook. One right credential is enough.
    pub(crate) fn judge(&self, route: &Route) -> Verdict {
        let token = route.token.expose_secret().as_bytes();
        if self.query.is_empty() && self.header.is_empty() && self.cookie.is_empty() {
            Verdict::Missing
        } else if any_equal(&self.query, token) {
            Verdict::Right(Opened::Query)
        } else if any_equal(&self.header, token) {
            Verdict::Right(Opened::Header)
        } else if any_equal(&self.cookie, Session::of(route).value().as_bytes()) {
            Verdict::Right(Opened::Cookie)
        } else {
            Verdict::Wrong
        }
    }
}

/// Whether one of `shown` is `wanted`, in a time that depends on lengths only. An empty secret opens nothing.
fn any_equal(shown: &[Vec<u8>], wanted: &[u8]) -> bool {
    let found = shown.iter().fold(subtle::Choice::from(0), |found, one| found | one.as_slice().ct_eq(wanted));
    bool::from(found) && !wanted.is_empty()
}

/// The token of `token T` or `Bearer T`; any other scheme is not ours.
fn authorization(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    let ours = scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer");
    let token = token.trim();
    (ours && !token.is_empty()).then(|| token.into())
}

fn session_cookies(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|v| v.as_bytes().split(|b| *b == b';'));
    let ours = pairs.filter(|pair| is_session_cookie(pair));
    ours.map(|pair| pair.trim_ascii()[COOKIE.len() + 1..].to_vec()).collect()
}

/// Whether a pair of a `Cookie` header is the gateway's own.
pub(crate) fn is_session_cookie(pair: &[u8]) -> bool {
    pair.trim_ascii().strip_prefix(COOKIE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_core::status::Status;

    fn route(token: &str) -> Route {
        Route {
            id: "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10".parse().unwrap(),
            project_id: "a".repeat(32).parse().unwrap(),
            owner: "b".repeat(32).parse().unwrap(),
            name: "a".into(),
            status: Status::Running,
            fail_reason: None,
            progress: Vec::new(),
            token: token.into(),
            upstream_secret: "upstream".into(),
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(http::HeaderName, HeaderValue)>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            })
    }

    fn judge(pairs: &[(&'static str, &str)], query: &[&str]) -> Verdict {
        let query = query.iter().map(|t| t.as_bytes().to_vec()).collect();
        Shown::read(&headers(pairs), query, true).judge(&route("right"))
    }

    #[test]
    fn one_right_credential_is_enough() {
        let cookie = format!("a=b; {COOKIE}={}; c=d", Session::of(&route("right")).value());
        let old = format!("{COOKIE}={}", Session::of(&route("old")).value());
        let header = Verdict::Right(Opened::Header);
        assert_eq!(judge(&[("authorization", "token right")], &[]), header);
        assert_eq!(judge(&[("authorization", "BEARER  right ")], &[]), header);
        assert_eq!(judge(&[], &["wrong", "right"]), Verdict::Right(Opened::Query));
        assert_eq!(judge(&[("cookie", &cookie)], &[]), Verdict::Right(Opened::Cookie));
        assert_eq!(judge(&[("cookie", &cookie), ("authorization", "token x")], &[]), Verdict::Right(Opened::Cookie));
        assert_eq!(judge(&[("cookie", &cookie), ("authorization", "token right")], &[]), header);
        assert_eq!(judge(&[("cookie", &old)], &[]), Verdict::Wrong);
        assert_eq!(judge(&[("cookie", &format!("{COOKIE}=right"))], &[]), Verdict::Wrong);
        assert_eq!(judge(&[("authorization", "token righ")], &["righ"]), Verdict::Wrong);
        assert_eq!(judge(&[("authorization", "Basic right")], &[]), Verdict::Missing);
        assert_eq!(judge(&[("authorization", "token ")], &[]), Verdict::Missing);
        assert_eq!(judge(&[("cookie", &format!("x{COOKIE}=1; {COOKIE}x=1"))], &[]), Verdict::Missing);
    }

    #[test]
    fn an_empty_secret_opens_nothing() {
        let shown = Shown { query: vec![Vec::new()], ..Shown::default() };
        assert_eq!(shown.judge(&route("")), Verdict::Wrong);
    }

    #[test]
    fn sessions_differ_by_token_notebook_and_secret() {
        let base = Session::of(&route("right"));
        assert_eq!(base, Session::of(&route("right")));
        assert_ne!(base, Session::of(&route("other")));
        assert_ne!(base, Session::of(&Route { upstream_secret: "other".into(), ..route("right") }));
        let id = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a11".parse().unwrap();
        assert_ne!(base, Session::of(&Route { id, ..route("right") }));
        assert_eq!(base.value().len(), 64);
        assert!(!base.value().contains("right"));
    }
}
