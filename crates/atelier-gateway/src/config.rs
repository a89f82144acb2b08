//! Under which names the server is reached. Every address that Atelier hands out is built from these, never from a
//! request.

use std::fmt;
use std::str::FromStr;

use atelier_core::id::NotebookId;

/// How the public address is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`: TLS ends in front of the server.
    Https,
}

impl Scheme {
    /// Its name in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that URLs leave out.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The address under which clients reach the server: scheme, host and port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// How it is spoken.
    pub scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address in brackets; in lower case.
    pub host: String,
    /// The port, also when it is the scheme's own.
    pub port: u16,
}

impl PublicUrl {
    /// The origin of `host` at this scheme and port, as browsers write it: without the scheme's own port.
    pub fn origin_of(&self, host: &str) -> String {
        if self.port == self.scheme.default_port() {
            format!("{}://{host}", self.scheme)
        } else {
            format!("{}://{host}:{}", self.scheme, self.port)
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin_of(&self.host))
    }
}

/// A text is no public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not `http://HOST[:PORT]` or `https://HOST[:PORT]`")]
pub struct NotAPublicUrl;

impl FromStr for PublicUrl {
    type Err = NotAPublicUrl;

    fn from_str(text: &str) -> Result<Self, NotAPublicUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAPublicUrl)?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(NotAPublicUrl),
        };
        let (host, port) = crate::host::split_port(rest.strip_suffix('/').unwrap_or(rest))
            .filter(|(h, _)| !h.is_empty())
            .ok_or(NotAPublicUrl)?;
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port: port.unwrap_or(scheme.default_port()) })
    }
}

/// What the gateway is told by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Notebooks live at `<id>.<domain>`.
    pub domain: String,
    /// The public address.
    pub public_url: PublicUrl,
    /// Further names of the API, each `HOST` or `HOST:PORT`: the address that the server listens on, above all. A port
    /// named here is right with every name.
    pub api_hosts: Vec<String>,
}

impl GatewayConfig {
    /// The name of a notebook's host, without the port.
    pub fn notebook_host(&self, id: NotebookId) -> String {
        format!("{id}.{}", self.domain.to_ascii_lowercase())
    }

    /// A notebook's origin: `http://<id>.<domain>:<port>`.
    pub fn notebook_origin(&self, id: NotebookId) -> String {
        self.public_url.origin_of(&self.notebook_host(id))
    }

    /// Where a notebook opens in a browser: its `url` in the API.
    pub fn notebook_url(&self, id: NotebookId) -> String {
        format!("{}/lab", self.notebook_origin(id))
    }

    /// Whether browsers keep the gateway's cookie. It is `Secure`: over plain `http` they keep it for `localhost` and
    /// the names below it only, so notebooks at any other domain need `https`. Programs do not care.
    pub fn browsers_keep_cookies(&self) -> bool {
        let domain = self.domain.to_ascii_lowercase();
        self.public_url.scheme == Scheme::Https || domain == "localhost" || domain.ends_with(".localhost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls_read_and_print_as_browsers_do() {
        for (text, printed) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://Example.org:80/", "http://example.org"),
            ("https://example.org", "https://example.org"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), printed);
        }
        for bad in
            ["localhost:8080", "ftp://a", "http://", "http://a:b", "http://a:1/x", "http://u@a", "http://a:70000"]
        {
            assert_eq!(bad.parse::<PublicUrl>(), Err(NotAPublicUrl), "{bad}");
        }
    }

    #[test]
    fn cookies_need_https_or_localhost() {
        let keep = |domain: &str, url: &str| {
            let config =
                GatewayConfig { domain: domain.into(), public_url: url.parse().unwrap(), api_hosts: Vec::new() };
            config.browsers_keep_cookies()
        };
        assert!(keep("localhost", "http://localhost:8080"));
        assert!(keep("nb.localhost", "http://localhost:8080"));
        assert!(keep("nb.example.org", "https://example.org"));
        assert!(!keep("nb.example.org", "http://example.org"));
        assert!(!keep("notlocalhost", "http://notlocalhost"));
    }
}
