//! Request targets and host names in their normal spelling.
//!
//! `/v1/x/notebooks/` and `/v1/x/note%62ooks` mean the same as `/v1/x/notebooks`. They are answered directly: clients
//! that sign requests do not follow redirects.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;

/// The same target without one slash at the end of the path and without needless percent encoding.
pub(crate) fn normal(uri: &Uri) -> Uri {
    let path = uri.path();
    let bare = match path.strip_suffix('/') {
        Some("") | None => path,
        Some(bare) => bare,
    };
    let decoded = decode_unreserved(bare);
    if decoded == path {
        return uri.clone();
    }
    let target = match uri.query() {
        Some(query) => format!("{decoded}?{query}"),
        None => decoded,
    };
    target.parse().unwrap_or_else(|_| uri.clone())
}

/// Decodes what never needs encoding: letters, digits and `-._~`. A slash stays encoded, so segments stay whole.
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                decoded.push(c);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The name in `name:port`, `[address]:port` or a bare name.
pub(crate) fn host_name(host: &str) -> &str {
    let host = host.rsplit('@').next().unwrap_or(host);
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name).trim_end_matches('.')
}

/// Whether the name is an IP address.
pub(crate) fn is_address(name: &str) -> bool {
    name.parse::<Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_become_one() {
        for (sent, wanted) in [
            ("/", "/"),
            ("/v3/", "/v3"),
            ("/v1/p/notebooks/?limit=1", "/v1/p/notebooks?limit=1"),
            ("/v1/p/note%62ooks", "/v1/p/notebooks"),
            ("/v1/%7Bproject_id%7D/notebooks", "/v1/%7Bproject_id%7D/notebooks"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a//", "/a/"),
            ("/a%", "/a%"),
            ("/a%2", "/a%2"),
            ("/a%25%36%31", "/a%2561"),
        ] {
            assert_eq!(normal(&sent.parse().unwrap()).to_string(), wanted, "{sent}");
        }
    }

    #[test]
    fn host_names_lose_port_and_brackets() {
        for (host, wanted) in
            [("a.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:8080", "::1"), ("127.0.0.1:1", "127.0.0.1"), ("a.b.", "a.b")]
        {
            assert_eq!(host_name(host), wanted);
        }
        assert!(is_address("127.0.0.1") && is_address("::1"));
        assert!(!is_address("127.0.0.1.evil.example") && !is_address(""));
    }
}
