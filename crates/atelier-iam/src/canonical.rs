//! The canonical form of a request: what both sides of a signature compute it over.
//!
//! Six parts joined by line feeds: method, path, query, the signed headers, their names, and the hash of the body. The
//! signer says which headers it signed, and the form is rebuilt from exactly those: clients sign whatever they are
//! about to send, which is not a fixed list.
//!
//! Nothing here compares or decides. A form that cannot be built (a listed header is missing, or came twice so that
//! nobody can say which one was meant) is nothing.

use http::HeaderMap;

use crate::text::sha256;

/// A request, as far as proving who sent it needs it.
#[derive(Clone, Copy, Debug)]
pub struct IncomingRequest<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path as it came: percent-encoded, without the query.
    pub path: &'a str,
    /// The query as it came, without the question mark; empty when there is none.
    pub query: &'a str,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
    /// The address it came from: bad signatures are counted by it.
    pub from: std::net::IpAddr,
}

/// In which way a client writes what all write nearly alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Runs of blanks inside a header's value count as one.
    collapses_blanks: bool,
    query: QueryStands,
}

/// Where the query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryStands {
    /// In its own line.
    InItsLine,
    /// In the place of the body: older clients see the query of a POST without a body as a form. This is how a blank is
    /// written in it.
    ForTheBody(&'static [u8]),
}

impl Habits {
    /// Of the present clients.
    pub(crate) const PLAIN: Self = Self { collapses_blanks: false, query: QueryStands::InItsLine };
    /// Of the older clients, which differ among themselves.
    pub(crate) const SCOPED: &[Self] = &[
        Self { collapses_blanks: true, query: QueryStands::InItsLine },
        Self { collapses_blanks: true, query: QueryStands::ForTheBody(b"%20") },
        Self { collapses_blanks: true, query: QueryStands::ForTheBody(b"+") },
    ];
}

/// The header that may stand for the hash of the body.
const CONTENT_HASH: &str = "x-sdk-content-sha256";
/// Its value when the client leaves the body unsigned.
const UNSIGNED: &[u8] = b"UNSIGNED-PAYLOAD";

/// The canonical form, for the signed headers as they are listed (`a;b;c`). Nothing where the habit does not apply.
pub(crate) fn canonical_request(
    request: &IncomingRequest<'_>,
    signed_headers: &str,
    habits: Habits,
) -> Option<Vec<u8>> {
    let mut form = Vec::with_capacity(512);
    form.extend_from_slice(request.method.as_bytes());
    form.push(b'\n');
    push_path(&mut form, request.path);
    form.push(b'\n');
    let payload_hash = match habits.query {
        QueryStands::InItsLine => {
            push_query(&mut form, request.query, b"%20");
            payload_hash(request)?
        }
        QueryStands::ForTheBody(blank) => query_hash(request, blank)?,
    };
    form.push(b'\n');
    for name in signed_headers.split(';') {
        push_header(&mut form, name, the_one(request.headers, name)?, habits.collapses_blanks);
    }
    form.push(b'\n');
    form.extend_from_slice(signed_headers.as_bytes());
    form.push(b'\n');
    form.extend_from_slice(&payload_hash);
    Some(form)
}

/// The value of a header that came exactly once.
pub(crate) fn the_one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes().trim_ascii())
}

fn push_header(form: &mut Vec<u8>, name: &str, value: &[u8], collapses_blanks: bool) {
    form.extend_from_slice(name.as_bytes());
    form.push(b':');
    let repeats = |nth: usize| nth > 0 && value[nth] == b' ' && value[nth - 1] == b' ';
    let kept = (0..value.len()).filter(|nth| !(collapses_blanks && repeats(*nth)));
    form.extend(kept.map(|nth| value[nth]));
    form.push(b'\n');
}

fn push_path(form: &mut Vec<u8>, path: &str) {
    let decoded = decode(path, false);
    for (nth, segment) in decoded.split(|b| *b == b'/').enumerate() {
        if nth > 0 {
            form.push(b'/');
        }
        push_encoded(form, segment, b"%20");
    }
    if !decoded.ends_with(b"/") {
        form.push(b'/');
    }
}

/// Pairs are read as the server's own handlers read them (a `+` is a blank, an empty pair is none), so that what was
/// signed is what is understood.
fn push_query(form: &mut Vec<u8>, query: &str, blank: &[u8]) {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    };
    let mut pairs: Vec<_> = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
    pairs.sort();
    for (nth, (name, value)) in pairs.iter().enumerate() {
        if nth > 0 {
            form.push(b'&');
        }
        push_encoded(form, name, blank);
        form.push(b'=');
        push_encoded(form, value, blank);
    }
}

/// The hash of the body; the value of the header that stands for it, when that is true or says that it was left out.
/// A header that claims another hash than the body has would leave the body open to change.
fn payload_hash(request: &IncomingRequest<'_>) -> Option<Vec<u8>> {
    let hash = hex::encode(sha256(request.body)).into_bytes();
    if request.body.is_empty() || !request.headers.contains_key(CONTENT_HASH) {
        return Some(hash);
    }
    let claimed = the_one(request.headers, CONTENT_HASH)?;
    (claimed == UNSIGNED || claimed.eq_ignore_ascii_case(&hash)).then(|| claimed.to_vec())
}

/// The hash of the query as a form, for a POST without a body that has a query. A signature over a body cannot be taken
/// for one over a query: every pair of a form has a `=` outside of quotes, which no JSON document has.
fn query_hash(request: &IncomingRequest<'_>, blank: &[u8]) -> Option<Vec<u8>> {
    if request.method != "POST" || !request.body.is_empty() || request.query.is_empty() {
        return None;
    }
    let mut form = Vec::with_capacity(request.query.len());
    push_query(&mut form, request.query, blank);
    Some(hex::encode(sha256(&form)).into_bytes())
}

/// Undoes percent-encoding. A percent sign that encodes nothing stands for itself.
pub(crate) fn decode(text: &str, plus_is_blank: bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (b'+', _) if plus_is_blank => decoded.push(b' '),
            _ => decoded.push(*first),
        }
    }
    decoded
}

const fn digit(hexadecimal: u8) -> u8 {
    match hexadecimal {
        b'0'..=b'9' => hexadecimal - b'0',
        b'a'..=b'f' => hexadecimal - b'a' + 10,
        b'A'..=b'F' => hexadecimal - b'A' + 10,
        _ => 0,
    }
}

fn push_encoded(form: &mut Vec<u8>, bytes: &[u8], blank: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            form.push(*byte);
        } else if *byte == b' ' {
            form.extend_from_slice(blank);
        } else {
            form.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> String {
        let mut form = Vec::new();
        push_path(&mut form, raw);
        String::from_utf8(form).unwrap()
    }

    fn query(raw: &str) -> String {
        let mut form = Vec::new();
        push_query(&mut form, raw, b"%20");
        String::from_utf8(form).unwrap()
    }

    fn hash_of(body: &[u8], claims: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for claim in claims {
            headers.append(CONTENT_HASH, claim.parse().unwrap());
        }
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let request = IncomingRequest { method: "POST", path: "/", query: "", headers: &headers, body, from };
        payload_hash(&request).map(|hash| String::from_utf8(hash).unwrap())
    }

    #[test]
    fn paths_are_decoded_encoded_and_end_in_a_slash() {
        assert_eq!(path("/v1/p/notebooks"), "/v1/p/notebooks/");
        assert_eq!(path("/v1/p/notebooks/"), "/v1/p/notebooks/");
        assert_eq!(path("/"), "/");
        assert_eq!(path("/a%20b/%c3%bc~x+y"), "/a%20b/%C3%BC~x%2By/");
        assert_eq!(path("/100%/%zz/%4"), "/100%25/%25zz/%254/");
        assert_eq!(path("//a//"), "//a//");
    }

    #[test]
    fn queries_are_sorted_by_decoded_name_then_value() {
        assert_eq!(query("b=2&a=%20x&a=1"), "a=%20x&a=1&b=2");
        assert_eq!(query("%62=1&a=2"), "a=2&b=1");
        assert_eq!(query("name=my nb/1"), "name=my%20nb%2F1");
        assert_eq!(query("a&&b=x=y&"), "a=&b=x%3Dy");
        assert_eq!(query("a=1+1&b=1%2B1"), "a=1%201&b=1%2B1");
        assert_eq!(query(""), "");
    }

    /// The hash that stands in the form, in each of the older habits.
    fn hashes_in_older_forms(method: &str, query: &str, body: &[u8]) -> Vec<Option<String>> {
        let headers = HeaderMap::new();
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let request = IncomingRequest { method, path: "/", query, headers: &headers, body, from };
        let [_, percent, plus] = Habits::SCOPED else { panic!("three habits") };
        let hash = |habits: &Habits| {
            let QueryStands::ForTheBody(blank) = habits.query else { panic!("not for the body") };
            query_hash(&request, blank).map(|hash| String::from_utf8(hash).unwrap())
        };
        vec![hash(percent), hash(plus)]
    }

    #[test]
    fn the_query_stands_for_the_body_only_of_a_post_that_has_none() {
        let hash = |form: &str| Some(hex::encode(sha256(form.as_bytes())));
        assert_eq!(hashes_in_older_forms("POST", "b=x+y&a=1", b""), [hash("a=1&b=x%20y"), hash("a=1&b=x+y")]);
        for (method, query, body) in [("GET", "a=1", &b""[..]), ("POST", "a=1", b"{}"), ("POST", "", b"")] {
            assert_eq!(hashes_in_older_forms(method, query, body), [None, None], "{method} {query}");
        }
    }

    #[test]
    fn blanks_inside_values_collapse_only_in_the_older_form() {
        let header = |collapses| {
            let mut form = Vec::new();
            push_header(&mut form, "x", b"a  b   c d", collapses);
            String::from_utf8(form).unwrap()
        };
        assert_eq!(header(true), "x:a b c d\n");
        assert_eq!(header(false), "x:a  b   c d\n");
    }

    #[test]
    fn an_empty_body_has_its_own_hash_whatever_the_header_says() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash_of(b"", &[]).unwrap(), empty);
        assert_eq!(hash_of(b"", &["UNSIGNED-PAYLOAD"]).unwrap(), empty);
    }

    #[test]
    fn the_header_stands_for_the_hash_only_when_it_is_true_or_says_unsigned() {
        let hash = hash_of(b"x", &[]).unwrap();
        assert_eq!(hash_of(b"x", &["UNSIGNED-PAYLOAD"]).unwrap(), "UNSIGNED-PAYLOAD");
        assert_eq!(hash_of(b"x", &[&hash]).unwrap(), hash);
        assert_eq!(hash_of(b"x", &[&hash.to_uppercase()]).unwrap(), hash.to_uppercase());
        assert_eq!(hash_of(b"y", &[&hash]), None);
        assert_eq!(hash_of(b"x", &[&hash, "UNSIGNED-PAYLOAD"]), None);
    }
}
