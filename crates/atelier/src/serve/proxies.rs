//! For whom a request is made, when it comes through a proxy.
//!
//! Anybody can write `X-Forwarded-For`. So these headers are read only when the other end of the connection is one of
//! `server.trusted_proxies`, and only the kind that `server.proxy_header` names: a proxy writes one kind and passes the
//! other on as the client wrote it. In the list of addresses the last one was added by the proxy that we speak with; it
//! is believed. If it is a trusted proxy too, then so is the one before it, and so on: the client is the first one from
//! the end that is no trusted proxy. What stands before it is the client's own claim.
//!
//! What is told here decides whom lock-out and throttle count, what the audit writes down, and which name was asked
//! for; never what addresses are made from.

use std::net::{IpAddr, SocketAddr};

use atelier_gateway::Scheme;
use http::{HeaderMap, HeaderName, header};

use super::front::{Ends, REQUEST_ID};
use crate::config::{Network, ProxyHeader};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// An id that is longer, or of other letters, is not taken over: it stands in logs and in the audit.
const LONGEST_ID: usize = 64;

/// The proxies that are believed.
#[derive(Clone, Debug)]
pub(super) struct Proxies {
    pub(super) trusted: Vec<Network>,
    pub(super) header: ProxyHeader,
}

/// What is known of a request's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Where the client is. Through a proxy its port is not known, and 0.
    pub(super) client: SocketAddr,
    /// How the client speaks, where that is known.
    pub(super) scheme: Option<Scheme>,
    /// The host that the client asked for, where that is not the one in `Host`.
    pub(super) host: Option<String>,
    /// The request's id, where a proxy has given it one.
    pub(super) request_id: Option<String>,
}

impl Proxies {
    /// Where this request comes from.
    pub(super) fn origin(&self, headers: &HeaderMap, ends: Ends) -> Origin {
        let scheme = ends.secure.then_some(Scheme::Https);
        if !self.trusts(ends.peer.ip()) {
            return Origin { client: ends.peer, scheme, host: None, request_id: None };
        }
        let said = match self.header {
            ProxyHeader::XForwarded => self.x_forwarded(headers),
            ProxyHeader::Forwarded => self.forwarded(headers),
        };
        Origin {
            client: said.client.map_or(ends.peer, |ip| SocketAddr::new(ip, 0)),
            scheme: said.proto.as_deref().and_then(scheme_of).or(scheme),
            host: said.host,
            request_id: only(headers, &REQUEST_ID).filter(|id| is_id(id)).map(str::to_owned),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.holds(address))
    }

    fn x_forwarded(&self, headers: &HeaderMap) -> Said {
        let hops = parts(headers, &FORWARDED_FOR, ',');
        let client = self.client(hops.iter().map(|hop| address(hop)));
        // These two are set, not added to: the last value is the nearest proxy's.
        let last = |name| parts(headers, name, ',').pop();
        Said { client, proto: last(&FORWARDED_PROTO), host: last(&FORWARDED_HOST) }
    }

    fn forwarded(&self, headers: &HeaderMap) -> Said {
        let hops: Vec<Hop> = parts(headers, &header::FORWARDED, ',').iter().map(|hop| Hop::read(hop)).collect();
        let client = self.client(hops.iter().map(|hop| hop.from));
        // The proxy that met the client knows what it was asked for.
        let met = hops.iter().rposition(|hop| hop.from == client && client.is_some()).and_then(|at| hops.get(at));
        let met = met.or(hops.last());
        Said { client, proto: met.and_then(|hop| hop.proto.clone()), host: met.and_then(|hop| hop.host.clone()) }
    }

    /// The first address from the end that is no trusted proxy's. Behind one that cannot be read nothing is believed.
    fn client(&self, hops: impl DoubleEndedIterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut nearest = None;
        for hop in hops.rev() {
            let Some(address) = hop else { break };
            nearest = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }
}

#[derive(Default)]
struct Said {
    client: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

/// One element of `Forwarded`.
#[derive(Default)]
struct Hop {
    from: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl Hop {
    fn read(text: &str) -> Self {
        let mut hop = Self::default();
        for pair in split(text, ';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop.from = address(value),
                "proto" => hop.proto = Some(value.to_owned()),
                "host" => hop.host = Some(value.to_owned()),
                _ => {}
            }
        }
        hop
    }
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse().ok();
    alone.or_else(|| text.parse::<SocketAddr>().ok().map(|end| end.ip())).map(|ip: IpAddr| ip.to_canonical())
}

fn scheme_of(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(Scheme::Https),
        "http" | "ws" => Some(Scheme::Http),
        _ => None,
    }
}

fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (8..=LONGEST_ID).contains(&text.len()) && text.bytes().all(plain)
}

/// All values of a header, cut at `separator`. A value that is no text counts as one that says nothing.
fn parts(headers: &HeaderMap, name: &HeaderName, separator: char) -> Vec<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    values.flat_map(|value| split(value, separator)).map(str::to_owned).collect()
}

/// Cuts at `separator`, but not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1:4000";
    const STRANGER: &str = "203.0.113.5:4000";

    fn origin(header: ProxyHeader, peer: &str, pairs: &[(&'static str, &str)]) -> Origin {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let ends = Ends { peer: peer.parse().unwrap(), local: "10.0.0.2:8080".parse().unwrap(), secure: false };
        Proxies { trusted, header }.origin(&headers, ends)
    }

    fn client(header: ProxyHeader, pairs: &[(&'static str, &str)]) -> String {
        origin(header, PROXY, pairs).client.to_string()
    }

    #[test]
    fn nothing_that_a_stranger_says_is_believed() {
        let claims = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=192.0.2.1;proto=https;host=evil.example"),
            ("x-request-id", "chosen-by-a-stranger"),
        ];
        for header in [ProxyHeader::XForwarded, ProxyHeader::Forwarded] {
            let known = Origin { client: STRANGER.parse().unwrap(), scheme: None, host: None, request_id: None };
            assert_eq!(origin(header, STRANGER, &claims), known);
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_end_that_is_no_proxy() {
        for (list, wanted) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1:0"),
            ("6.6.6.6, 192.0.2.1, 10.0.0.9", "192.0.2.1:0"),
            ("10.0.0.8, 10.0.0.9", "10.0.0.8:0"),
            ("192.0.2.1:5555", "192.0.2.1:0"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:5555", "[2001:db8::1]:0"),
            ("::ffff:192.0.2.1", "192.0.2.1:0"),
            ("6.6.6.6, unknown, 10.0.0.9", "10.0.0.9:0"),
            ("unknown", PROXY),
            ("", PROXY),
        ] {
            assert_eq!(client(ProxyHeader::XForwarded, &[("x-forwarded-for", list)]), wanted, "{list}");
        }
        let twice = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client(ProxyHeader::XForwarded, &twice), "192.0.2.1:0");
    }

    #[test]
    fn forwarded_is_read_with_its_quotes() {
        for (list, wanted) in [
            ("for=192.0.2.1;proto=https", "192.0.2.1:0"),
            ("for=6.6.6.6, For=\"192.0.2.1:99\"", "192.0.2.1:0"),
            ("for=\"[2001:db8::1]:5555\" ; by=10.0.0.1, for=10.0.0.7", "[2001:db8::1]:0"),
            ("for=\"a,b\", for=192.0.2.1", "192.0.2.1:0"),
            ("for=_hidden", PROXY),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(ProxyHeader::Forwarded, &[("forwarded", list)]), wanted, "{list}");
        }
        let list =
            "for=6.6.6.6;host=evil.example, for=192.0.2.1;host=\"a.example:8443\";proto=https, for=10.0.0.7;host=inner";
        let found = origin(ProxyHeader::Forwarded, PROXY, &[("forwarded", list)]);
        assert_eq!((found.host.as_deref(), found.scheme), (Some("a.example:8443"), Some(Scheme::Https)));
    }

    #[test]
    fn only_the_kind_that_the_proxy_writes_is_read() {
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=6.6.6.6")];
        assert_eq!(client(ProxyHeader::XForwarded, &both), "192.0.2.1:0");
        assert_eq!(client(ProxyHeader::Forwarded, &both), "6.6.6.6:0");
        assert_eq!(client(ProxyHeader::XForwarded, &both[1..]), PROXY);
    }

    #[test]
    fn the_nearest_word_on_scheme_and_host_counts() {
        let pairs = [("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil.example, a.example")];
        let found = origin(ProxyHeader::XForwarded, PROXY, &pairs);
        assert_eq!((found.host.as_deref(), found.scheme), (Some("a.example"), Some(Scheme::Https)));
    }

    #[test]
    fn a_proxy_s_id_is_taken_over_when_it_is_one() {
        let id = |text: &str| origin(ProxyHeader::XForwarded, PROXY, &[("x-request-id", text)]).request_id;
        assert_eq!(id("4f1c-9A.b_77").as_deref(), Some("4f1c-9A.b_77"));
        for wrong in ["short", "with space in it", "semi;colon;id", &"x".repeat(65)] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }
}
