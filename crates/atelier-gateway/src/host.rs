//! Which of the server's names a request was sent to.
//!
//! A page of an attacker can make its own name resolve to this machine's loopback (DNS rebinding); then the browser
//! treats our answers as that page's own. The name in `Host` is the only thing that gives it away, so a name that is
//! not ours is answered 421 and nothing else.

use std::collections::HashSet;

use atelier_core::id::NotebookId;
use http::uri::Authority;
use http::{HeaderMap, Uri, header};

use crate::config::GatewayConfig;

/// What a request's host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The API, the console, and notebooks in the path form.
    Api,
    /// A notebook, in the host form. It may not exist.
    Notebook(NotebookId),
    /// None of ours: to be answered 421 (`Code::Misdirected`).
    Unknown,
}

/// The server's names.
#[derive(Clone, Debug)]
pub struct HostNames {
    domain: String,
    api: HashSet<String>,
    ports: HashSet<u16>,
}

impl HostNames {
    /// The names that follow from the configuration: the public host, the further ones, and this machine's loopback.
    pub fn new(config: &GatewayConfig) -> Self {
        let mut names = Self {
            domain: format!(".{}", config.domain.to_ascii_lowercase()),
            api: ["localhost", "127.0.0.1", "[::1]"].map(String::from).into(),
            ports: HashSet::from([config.public_url.port]),
        };
        names.api.insert(config.public_url.host.to_ascii_lowercase());
        for (host, port) in config.api_hosts.iter().filter_map(|h| split_port(h)) {
            names.api.insert(host.to_ascii_lowercase());
            names.ports.extend(port);
        }
        names
    }

    /// What the value of a `Host` header stands for. The port must be one of ours, or absent.
    pub fn classify(&self, host: &str) -> Host {
        let Some((name, port)) = split_port(host) else { return Host::Unknown };
        if port.is_some_and(|p| !self.ports.contains(&p)) {
            return Host::Unknown;
        }
        let name = name.to_ascii_lowercase();
        if self.api.contains(&name) {
            return Host::Api;
        }
        let label = name.strip_suffix(&self.domain).and_then(|id| id.parse().ok());
        label.map_or(Host::Unknown, Host::Notebook)
    }

    /// What a request's head stands for: its one `Host` header and, where its target names a host too, both alike.
    pub fn of(&self, headers: &HeaderMap, uri: &Uri) -> Host {
        requested(headers, uri).map_or(Host::Unknown, |host| self.classify(host))
    }
}

/// The one host that a request names, with its port if any; `None` when it names none, or two.
pub(crate) fn requested<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let target = uri.authority().map(Authority::as_str);
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => target,
        (Some(_), Some(_)) => None,
        (Some(only), None) => {
            let host = only.to_str().ok()?;
            target.is_none_or(|t| t.eq_ignore_ascii_case(host)).then_some(host)
        }
    }
}

/// Splits `HOST[:PORT]`. `None` for what is no host: empty ports, user names, stray brackets.
pub(crate) fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at(end);
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '[' | ']' | ':');
    if !name.chars().all(sound) {
        return None;
    }
    match rest.strip_prefix(':') {
        None => rest.is_empty().then_some((name, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some((name, Some(digits.parse().ok()?))),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const ID: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";

    fn names(domain: &str, public: &str, api_hosts: &[&str]) -> HostNames {
        HostNames::new(&GatewayConfig {
            domain: domain.into(),
            public_url: public.parse().unwrap(),
            api_hosts: api_hosts.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn the_default_names() {
        let names = names("localhost", "http://localhost:8080", &["127.0.0.1:8080"]);
        let notebook = Host::Notebook(ID.parse().unwrap());
        let upper = ID.to_uppercase();
        for (host, wanted) in [
            ("localhost:8080", Host::Api),
            ("localhost", Host::Api),
            ("LocalHost:8080", Host::Api),
            ("127.0.0.1:8080", Host::Api),
            ("[::1]:8080", Host::Api),
            ("[::1]", Host::Api),
            (&format!("{ID}.localhost:8080"), notebook),
            (&format!("{ID}.localhost"), notebook),
            (&format!("{upper}.LOCALHOST:8080"), notebook),
            ("localhost:8081", Host::Unknown),
            ("localhost:", Host::Unknown),
            ("localhost:+8080", Host::Unknown),
            ("localhost:99999", Host::Unknown),
            ("localhost.", Host::Unknown),
            ("localhost:8080:8080", Host::Unknown),
            ("user@localhost:8080", Host::Unknown),
            ("127.0.0.1.evil.example:8080", Host::Unknown),
            ("evil.example:8080", Host::Unknown),
            ("0.0.0.0:8080", Host::Unknown),
            ("::1", Host::Unknown),
            ("[::1", Host::Unknown),
            ("[::1]x:8080", Host::Unknown),
            ("", Host::Unknown),
            ("nobody.localhost:8080", Host::Unknown),
            (&format!("{ID}.localhost:8081"), Host::Unknown),
            (&format!("{ID}localhost:8080"), Host::Unknown),
            (&format!("x.{ID}.localhost:8080"), Host::Unknown),
            (&format!("{ID}.evil.example:8080"), Host::Unknown),
            (&format!("{}.localhost:8080", ID.replace('-', "")), Host::Unknown),
        ] {
            assert_eq!(names.classify(host), wanted, "{host:?}");
        }
    }

    #[test]
    fn behind_a_public_name_both_ports_are_right() {
        let names = names("nb.example.org", "https://atelier.example.org", &["192.0.2.7:8080"]);
        for (host, wanted) in [
            ("atelier.example.org", Host::Api),
            ("atelier.example.org:443", Host::Api),
            ("192.0.2.7:8080", Host::Api),
            ("127.0.0.1:8080", Host::Api),
            (&format!("{ID}.nb.example.org"), Host::Notebook(ID.parse().unwrap())),
            (&format!("{ID}.localhost"), Host::Unknown),
            (&format!("{ID}.example.org"), Host::Unknown),
            ("nb.example.org", Host::Unknown),
            ("atelier.example.org:80", Host::Unknown),
        ] {
            assert_eq!(names.classify(host), wanted, "{host:?}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let names = names("localhost", "http://localhost:8080", &[]);
        let of = |hosts: &[&str], uri: &str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
            }
            names.of(&headers, &uri.parse().unwrap())
        };
        assert_eq!(of(&["localhost:8080"], "/x"), Host::Api);
        assert_eq!(of(&["localhost:8080"], "http://localhost:8080/x"), Host::Api);
        assert_eq!(of(&[], "http://localhost:8080/x"), Host::Api);
        assert_eq!(of(&[], "/x"), Host::Unknown);
        assert_eq!(of(&["localhost:8080", "localhost:8080"], "/x"), Host::Unknown);
        assert_eq!(of(&["localhost:8080"], "http://evil.example/x"), Host::Unknown);
        assert_eq!(of(&["evil.example"], "http://localhost:8080/x"), Host::Unknown);
    }
}
