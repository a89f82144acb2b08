//! Whether a request is one request.
//!
//! The HTTP library reads and writes every message anew, so that what goes up has one length and one meaning, whatever
//! came in. What it would have to choose a meaning for is refused here, for the sake of the server behind.

use atelier_core::{Code, Refusal};
use http::request::Parts;
use http::{HeaderMap, Method, header};

use crate::host;

/// Refuses what could be read in two ways, and the two methods that are not for a server behind a proxy: `CONNECT`
/// asks for a tunnel, and the answer to `TRACE` would hold what the gateway adds.
pub(crate) fn check(parts: &Parts, upgrade: bool) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::new(Code::BadRequest, why));
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return refuse("the method must be neither CONNECT nor TRACE");
    }
    if host::requested(&parts.headers, &parts.uri).is_none() {
        return refuse("exactly one `Host` must be named");
    }
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter().count();
    let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    if lengths > 1 || (lengths == 1 && chunked) {
        return refuse("the body must have one length: one `Content-Length` or `Transfer-Encoding`");
    }
    if upgrade && (parts.method != Method::GET || has_body(&parts.headers)) {
        return refuse("a request for an upgrade must be a GET without a body");
    }
    Ok(())
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|l| l.as_bytes() != b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn sound(method: Method, pairs: &[(&str, &str)], upgrade: bool) -> bool {
        let mut request = Request::builder().method(method).uri("/x").header("host", "localhost");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0, upgrade).is_ok()
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let (length, chunked) = (("content-length", "3"), ("transfer-encoding", "chunked"));
        assert!(sound(Method::POST, &[length], false));
        assert!(sound(Method::POST, &[chunked], false));
        assert!(!sound(Method::POST, &[length, chunked], false));
        assert!(!sound(Method::POST, &[length, length], false));
        assert!(!sound(Method::GET, &[("host", "localhost")], false));
        assert!(!sound(Method::TRACE, &[], false));
        assert!(!sound(Method::CONNECT, &[], false));
        assert!(sound(Method::GET, &[("content-length", "0")], true));
        assert!(!sound(Method::GET, &[length], true));
        assert!(!sound(Method::GET, &[chunked], true));
        assert!(!sound(Method::POST, &[], true));
    }
}
