//! Whether the visitor meant the request, or another page caused it.
//!
//! Behind the gateway a request carries a token of its own, and the notebook server asks for no further proof. So the
//! gateway is the only guard against other sites, and against the other notebooks, which are siblings under the same
//! domain and may hold hostile pages.
//!
//! | request | by cookie | by token |
//! |---|---|---|
//! | changes something, or an upgrade | `Origin` is the notebook's; without `Origin`, `Sec-Fetch-Site: same-origin` | no foreign `Origin`, no foreign `Sec-Fetch-Site` |
//! | reads | same origin, or the person goes there | anything |
//!
//! Browsers send `Origin` with every request of the first row; what sends neither header shows no cookie either. A
//! program with a token may send any header or none; only a browser's word that the request is foreign counts.

use http::request::Parts;
use http::{HeaderName, Method, header};

use crate::config::{GatewayConfig, Scheme};
use crate::credential::Opened;
use crate::visit::{Form, SEC_FETCH_MODE, Visit, text};

/// Why a request is taken for another page's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign(pub(crate) &'static str);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Checks the table above.
pub(crate) fn check(parts: &Parts, visit: &Visit, config: &GatewayConfig, opened: Opened) -> Result<(), Foreign> {
    let site = Site::of(parts);
    let by_cookie = opened == Opened::Cookie;
    if visit.upgrade || changes(&parts.method) {
        return match (parts.headers.contains_key(header::ORIGIN), site) {
            (true, _) if !is_own(parts, visit, config) => Err(Foreign("`Origin` must be the notebook's own")),
            (_, Site::Other) => Err(Foreign("the request must come from the notebook's own pages")),
            (false, Site::Person | Site::Unsaid) if by_cookie => Err(Foreign(
                "with a cookie, `Origin` or `Sec-Fetch-Site` must say that the request is the notebook's own",
            )),
            _ => Ok(()),
        };
    }
    if by_cookie && site == Site::Other && !goes_there(parts) {
        return Err(Foreign("the notebook's resources are for its own pages"));
    }
    Ok(())
}

/// Whether the request's one `Origin` is the notebook's own.
pub(crate) fn is_own(parts: &Parts, visit: &Visit, config: &GatewayConfig) -> bool {
    let Some(origin) = text(&parts.headers, &header::ORIGIN).map(str::to_ascii_lowercase) else { return false };
    let at_host = |scheme: Scheme| visit.host.as_ref().is_some_and(|host| origin == format!("{scheme}://{host}"));
    match visit.form {
        // Cookies are at stake, so the scheme counts too.
        Form::Host => {
            at_host(visit.scheme.unwrap_or(config.public_url.scheme)) || origin == config.notebook_origin(visit.id)
        }
        // Programs name what they connected to, which need not be what is public.
        Form::Path => at_host(Scheme::Http) || at_host(Scheme::Https),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    /// The page that asks has the same origin.
    Own,
    /// A person asks: an address typed in, a bookmark.
    Person,
    /// A page of another origin asks, a sibling or a stranger.
    Other,
    /// The browser does not say, or it is none.
    Unsaid,
}

impl Site {
    fn of(parts: &Parts) -> Self {
        if !parts.headers.contains_key(SEC_FETCH_SITE) {
            return Self::Unsaid;
        }
        match text(&parts.headers, &SEC_FETCH_SITE) {
            Some("same-origin") => Self::Own,
            Some("none") => Self::Person,
            _ => Self::Other,
        }
    }
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A link that a person follows, rather than a frame, image or script of the other page.
fn goes_there(parts: &Parts) -> bool {
    let document = text(&parts.headers, &SEC_FETCH_DEST).is_none_or(|dest| dest == "document");
    text(&parts.headers, &SEC_FETCH_MODE) == Some("navigate") && document
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const ID: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";
    const OWN: &str = "http://0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10.localhost:8080";
    const SIBLING: &str = "http://0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a11.localhost:8080";

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn allowed(form: Form, opened: Opened, method: &Method, pairs: &[(&str, &str)]) -> bool {
        let host = match form {
            Form::Host => format!("{ID}.localhost:8080"),
            Form::Path => "127.0.0.1:8080".into(),
        };
        let mut request = Request::builder().method(method).uri("/x").header("host", host);
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let visit = Visit::read(&parts, form, ID.parse().unwrap());
        let config = GatewayConfig {
            domain: "localhost".into(),
            public_url: "http://localhost:8080".parse().unwrap(),
            api_hosts: Vec::new(),
        };
        check(&parts, &visit, &config, opened).is_ok()
    }

    #[test]
    fn what_changes_something_must_be_the_notebooks_own_doing() {
        let site = |s: &'static str| ("sec-fetch-site", s);
        let origin = |o: &'static str| ("origin", o);
        // headers, by cookie, by token
        let table: &[(Pairs<'_>, bool, bool)] = &[
            (&[origin(OWN)], true, true),
            (&[origin(OWN), site("same-origin")], true, true),
            (&[site("same-origin")], true, true),
            (&[], false, true),
            (&[site("none")], false, true),
            (&[site("same-site")], false, false),
            (&[site("cross-site")], false, false),
            (&[site("new-word")], false, false),
            (&[origin(OWN), site("cross-site")], false, false),
            (&[origin(OWN), site("same-origin"), site("cross-site")], false, false),
            (&[origin(SIBLING), site("same-origin")], false, false),
            (&[origin(SIBLING)], false, false),
            (&[origin(OWN), origin(SIBLING)], false, false),
            (&[origin("null")], false, false),
            (&[origin("http://localhost:8080")], false, false),
            (&[origin("https://0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10.localhost:8080")], false, false),
            (&[origin("http://0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10.localhost")], false, false),
        ];
        let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        for (pairs, by_cookie, by_token) in table {
            for (opened, wanted) in [(Opened::Cookie, by_cookie), (Opened::Header, by_token), (Opened::Query, by_token)]
            {
                for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                    assert_eq!(allowed(Form::Host, opened, &method, pairs), *wanted, "{opened:?} {method} {pairs:?}");
                }
                let pairs: Vec<_> = pairs.iter().chain(&upgrade).copied().collect();
                assert_eq!(allowed(Form::Host, opened, &Method::GET, &pairs), *wanted, "{opened:?} {pairs:?}");
            }
        }
    }

    #[test]
    fn reading_by_cookie_is_for_own_pages_and_people() {
        let get = |pairs: &[(&str, &str)]| allowed(Form::Host, Opened::Cookie, &Method::GET, pairs);
        let (cross, navigate) = (("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"));
        assert!(get(&[]));
        assert!(get(&[("sec-fetch-site", "none"), navigate]));
        assert!(get(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
        assert!(get(&[cross, navigate, ("sec-fetch-dest", "document")]));
        assert!(!get(&[cross, navigate, ("sec-fetch-dest", "iframe")]));
        assert!(!get(&[cross, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")]));
        assert!(!get(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
        assert!(allowed(Form::Host, Opened::Query, &Method::GET, &[cross, ("sec-fetch-mode", "cors")]));
    }

    #[test]
    fn programs_may_name_the_address_that_they_connected_to() {
        let post = |origin| allowed(Form::Path, Opened::Header, &Method::POST, &[("origin", origin)]);
        assert!(post("http://127.0.0.1:8080"));
        assert!(post("https://127.0.0.1:8080"));
        assert!(!post("http://127.0.0.1:9090"));
        assert!(!post(OWN));
    }
}
