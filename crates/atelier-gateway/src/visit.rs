//! What a request says of itself, read once.

use atelier_core::id::NotebookId;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};

use crate::config::Scheme;
use crate::credential::Shown;
use crate::{host, query};

/// How a notebook is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By the host's name: the notebook is an origin of its own.
    Host,
    /// By the first two segments of the path, on the API's host.
    Path,
}

/// What starts every path in the path form.
pub(crate) const PATH_PREFIX: &str = "/notebook/";
const ID_CHARS: usize = 36;

/// A request's head, as the gateway sees it.
pub(crate) struct Visit {
    pub(crate) form: Form,
    pub(crate) id: NotebookId,
    /// The host as the visitor named it, with its port.
    pub(crate) host: Option<String>,
    /// How the visitor speaks, where the server knows it (it ends TLS, or a trusted proxy says so): among the request's
    /// extensions.
    pub(crate) scheme: Option<Scheme>,
    /// What the path form puts before the notebook's own path, as the visitor wrote it; empty in the host form.
    pub(crate) prefix: String,
    /// The notebook's own path, byte for byte: dot segments and encoded slashes are the notebook server's business.
    pub(crate) path: String,
    /// The query without tokens.
    pub(crate) query: Option<String>,
    pub(crate) shown: Shown,
    /// A WebSocket is asked for.
    pub(crate) upgrade: bool,
    /// A person's browser goes to this address, so that a redirect and a cookie make sense.
    pub(crate) navigates: bool,
    pub(crate) manner: Manner,
}

/// In what manner refusals are answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// With a page for people rather than JSON for programs.
    pub(crate) page: bool,
    /// With this id of the request, when the server gave it one.
    pub(crate) request_id: Option<String>,
}

impl Manner {
    pub(crate) fn read(parts: &Parts) -> Self {
        let mode = text(&parts.headers, &SEC_FETCH_MODE);
        let page = wants_html(&parts.headers) && !asks_upgrade(&parts.headers) && mode.is_none_or(|m| m == "navigate");
        let request_id = text(&parts.headers, &HeaderName::from_static("x-request-id")).map(String::from);
        Self { page, request_id }
    }
}

pub(crate) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Visit {
    pub(crate) fn read(parts: &Parts, form: Form, id: NotebookId) -> Self {
        let split = query::split_tokens(parts.uri.query());
        let (prefix, path) = split_prefix(parts.uri.path(), form);
        let upgrade = asks_upgrade(&parts.headers);
        let mode = text(&parts.headers, &SEC_FETCH_MODE);
        let navigates = mode.map_or_else(|| wants_html(&parts.headers), |m| m == "navigate");
        Self {
            form,
            id,
            host: host::requested(&parts.headers, &parts.uri).map(str::to_ascii_lowercase),
            scheme: parts.extensions.get().copied(),
            prefix: prefix.into(),
            path: if path.is_empty() { "/".into() } else { path.into() },
            query: split.rest,
            shown: Shown::read(&parts.headers, split.tokens, form == Form::Host),
            upgrade,
            navigates: navigates && !upgrade && parts.method == Method::GET,
            manner: Manner::read(parts),
        }
    }

    /// The notebook's own path and query, without tokens.
    pub(crate) fn target(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }
}

/// Splits `/notebook/<id>` off the path; it is not decoded, so its length is known.
fn split_prefix(path: &str, form: Form) -> (&str, &str) {
    let len = PATH_PREFIX.len() + ID_CHARS;
    match form {
        Form::Path if path.starts_with(PATH_PREFIX) && path.is_char_boundary(len) => path.split_at(len),
        Form::Path | Form::Host => ("", path),
    }
}

/// The id in a path of the path form.
pub(crate) fn id_in_path(path: &str) -> Option<NotebookId> {
    let rest = path.strip_prefix(PATH_PREFIX)?;
    rest.split('/').next()?.parse().ok()
}

/// A header's value, when there is exactly one and it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Whether a comma-separated header has this word in it.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|w| w.trim().eq_ignore_ascii_case(word))
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|v| v.split(',')).any(|v| v.split(';').next().is_some_and(|t| t.trim() == "text/html"))
}

/// Whether the connection shall become a WebSocket. Other upgrades are not offered; such a request is a plain one.
fn asks_upgrade(headers: &HeaderMap) -> bool {
    lists(headers, &header::CONNECTION, "upgrade") && lists(headers, &header::UPGRADE, "websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";

    fn read(uri: &str, form: Form) -> Visit {
        let (parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        Visit::read(&parts, form, ID.parse().unwrap())
    }

    #[test]
    fn paths_pass_byte_for_byte() {
        for path in ["/", "/lab", "//x", "/a/../b/./c", "/a%2Fb%2e%2e/%zz", "/api/contents/%E7%AC%94", "/a;b=c,d"] {
            assert_eq!(read(&format!("{path}?token=t"), Form::Host).target(), path);
            let visit = read(&format!("/notebook/{ID}{path}?x=%2f&token=t"), Form::Path);
            assert_eq!(visit.target(), format!("{path}?x=%2f"));
            assert_eq!(visit.prefix, format!("/notebook/{ID}"));
        }
        assert_eq!(read(&format!("/notebook/{ID}"), Form::Path).target(), "/");
        assert_eq!(read(&format!("/notebook/{ID}/x"), Form::Host).target(), format!("/notebook/{ID}/x"));
    }

    #[test]
    fn the_id_is_the_whole_second_segment() {
        assert_eq!(id_in_path(&format!("/notebook/{ID}/x")), Some(ID.parse().unwrap()));
        assert_eq!(id_in_path(&format!("/notebook/{ID}")), Some(ID.parse().unwrap()));
        for bad in [format!("/notebook/{ID}x"), format!("/notebook/{ID}%2Fx"), "/notebook/".into(), format!("/n/{ID}")]
        {
            assert_eq!(id_in_path(&bad), None, "{bad}");
        }
    }
}
