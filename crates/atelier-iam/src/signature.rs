//! Signatures of requests: reading the `Authorization` header, and computing what it should hold.
//!
//! The forms differ in three places only: what the header carries, the string that is signed, and the key it is signed
//! with. Those three are the methods of [`Scheme`]; everything else (canonical form, clock, comparison, lock-out) is
//! the same for all of them.

use atelier_core::clock::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::canonical::{IncomingRequest, canonical_request, the_one};
use crate::refusal::AuthRefusal;
use crate::text::{hex, sha256};

/// How far the clocks of the two sides may be apart, in milliseconds.
pub const MOST_SKEW_MS: i64 = 15 * 60 * 1000;

/// More than any client sends; a bound on the work that an unproven claim can cause.
const MOST_SIGNED_HEADERS: usize = 64;
const DATE: &str = "x-sdk-date";

/// A form of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// `SDK-HMAC-SHA256 Access=…`: HMAC with the secret itself.
    Access,
}

impl Scheme {
    fn string_to_sign(self, date: &str, canonical: &[u8]) -> String {
        match self {
            Self::Access => format!("SDK-HMAC-SHA256\n{date}\n{}", hex(&sha256(canonical))),
        }
    }

    fn sign(self, secret: &SecretString, string_to_sign: &str) -> String {
        match self {
            Self::Access => hex(&hmac(secret.expose_secret().as_bytes(), string_to_sign.as_bytes())),
        }
    }
}

/// A request that claims to be signed, its claim read but not believed.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    scheme: Scheme,
    /// The public half of the key.
    pub(crate) access: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: &'a str,
    signed_at: Timestamp,
    request: IncomingRequest<'a>,
}

impl<'a> Claim<'a> {
    /// Reads what the request claims.
    pub(crate) fn read(request: IncomingRequest<'a>) -> Result<Self, AuthRefusal> {
        let header = the_one(request.headers, "authorization").and_then(|value| str::from_utf8(value).ok());
        let (scheme, fields) = scheme_of(header.ok_or(MALFORMED)?)?;
        let access = field(fields, "Access=").filter(|access| !access.is_empty()).ok_or(MALFORMED)?;
        let signed_headers = field(fields, "SignedHeaders=").ok_or(MALFORMED)?;
        let signature = field(fields, "Signature=").ok_or(MALFORMED)?;
        check_signed_headers(signed_headers)?;
        let date = the_one(request.headers, DATE).and_then(|value| str::from_utf8(value).ok()).ok_or(BAD_DATE)?;
        let signed_at = moment(date).ok_or(BAD_DATE)?;
        Ok(Self { scheme, access, signed_headers, signature, date, signed_at, request })
    }

    /// Refuses a request that was signed too long ago, or in the future.
    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), AuthRefusal> {
        let apart = now.millis_since(self.signed_at).unsigned_abs();
        if apart > MOST_SKEW_MS.unsigned_abs() {
            return Err(AuthRefusal::BadSignature("`X-Sdk-Date` must be within 15 minutes of the server's time"));
        }
        Ok(())
    }

    /// Whether the signature is the one that `secret` makes of this request. The comparison takes the same time
    /// wherever the difference lies.
    pub(crate) fn is_signed_with(&self, secret: &SecretString) -> bool {
        let Some(canonical) = canonical_request(&self.request, self.signed_headers) else { return false };
        let string_to_sign = self.scheme.string_to_sign(self.date, &canonical);
        let expected = self.scheme.sign(secret, &string_to_sign);
        expected.as_bytes().ct_eq(self.signature.as_bytes()).into()
    }

    /// The value of a header, when the signature vouches for it.
    pub(crate) fn signed_header(&self, name: &str) -> Option<&'a [u8]> {
        let listed = self.signed_headers.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
        listed.then(|| the_one(self.request.headers, name)).flatten()
    }
}

const MALFORMED: AuthRefusal =
    AuthRefusal::BadSignature("`Authorization` must be `SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…`");
const BAD_DATE: AuthRefusal = AuthRefusal::BadSignature("`X-Sdk-Date` must be a UTC time like `20260115T083000Z`");

/// The scheme, and the rest of the header.
fn scheme_of(header: &str) -> Result<(Scheme, &str), AuthRefusal> {
    let (keyword, fields) = header.trim().split_once(' ').ok_or(MALFORMED)?;
    match keyword {
        "SDK-HMAC-SHA256" => Ok((Scheme::Access, fields)),
        _ => Err(AuthRefusal::BadSignature("the algorithm in `Authorization` must be `SDK-HMAC-SHA256`")),
    }
}

/// The one field that starts with `name`.
fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let mut found = fields.split(',').filter_map(|field| field.trim().strip_prefix(name));
    let value = found.next()?;
    found.next().is_none().then_some(value)
}

fn check_signed_headers(list: &str) -> Result<(), AuthRefusal> {
    let names: Vec<_> = list.split(';').take(MOST_SIGNED_HEADERS + 1).collect();
    if names.len() > MOST_SIGNED_HEADERS {
        return Err(AuthRefusal::BadSignature("`SignedHeaders` must name at most 64 headers"));
    }
    let repeats = |(nth, name): (usize, &&str)| names[..nth].iter().any(|before| before.eq_ignore_ascii_case(name));
    if names.iter().enumerate().any(repeats) {
        return Err(AuthRefusal::BadSignature("`SignedHeaders` must name each header once"));
    }
    if ["host", DATE].iter().all(|required| names.iter().any(|name| name.eq_ignore_ascii_case(required))) {
        return Ok(());
    }
    Err(AuthRefusal::BadSignature("`SignedHeaders` must name `host` and `x-sdk-date`"))
}

/// `YYYYMMDDTHHMMSSZ`, and nothing that merely resembles it.
fn moment(text: &str) -> Option<Timestamp> {
    let digit = |(nth, byte): (usize, u8)| byte.is_ascii_digit() || nth == 8 || nth == 15;
    if text.len() != 16 || !text.bytes().enumerate().all(digit) {
        return None;
    }
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let time = TimeZone::UTC.to_timestamp(time).ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().into(),
        // Keys of every length are accepted; were that to change, nothing must verify.
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    const SECRET: &str = "SkExampleSecretKey0000000000000000000000A";
    const NOTEBOOKS: &str = "/v1/0f1e2d3c4b5a69788796a5b4c3d2e1f0/notebooks";
    const FOUR: &str = "content-type;host;x-project-id;x-sdk-date";

    fn headers(content_type: &'static str, more: &[(&'static str, &'static str)]) -> HeaderMap {
        let usual = [
            ("content-type", content_type),
            ("host", "modelarts.eu-de.example.com"),
            ("x-project-id", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
            ("x-sdk-date", "20260115T083000Z"),
        ];
        let all = usual.iter().chain(more);
        all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// The hash of the canonical form, and the signature.
    fn signed(
        (method, path, query): (&str, &str, &str),
        headers: &HeaderMap,
        body: &[u8],
        signed_headers: &str,
    ) -> (String, String) {
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let request = IncomingRequest { method, path, query, headers, body, from };
        let canonical = canonical_request(&request, signed_headers).unwrap();
        let string_to_sign = Scheme::Access.string_to_sign("20260115T083000Z", &canonical);
        (hex(&sha256(&canonical)), Scheme::Access.sign(&SECRET.into(), &string_to_sign))
    }

    fn pair(hash: &str, signature: &str) -> (String, String) {
        (hash.to_owned(), signature.to_owned())
    }

    #[test]
    fn vector_1_a_query_out_of_order() {
        let query = "workspace_id=0&limit=10&offset=0&name=my%20nb%2F1&sort_dir=DESC";
        assert_eq!(
            signed(("GET", NOTEBOOKS, query), &headers("application/json", &[]), b"", FOUR),
            pair(
                "6494a0016f3354c242f202ac67fdd2398d385e6d0a2db058e99ff8bcf7121929",
                "6754a80307ea260b14f61be56584d56e2effba0379601c9c25f6072f17d23952"
            )
        );
    }

    #[test]
    fn vector_2_a_body() {
        let body = br#"{"name": "nb", "flavor": "modelarts.vm.cpu.2u"}"#;
        assert_eq!(
            signed(("POST", NOTEBOOKS, ""), &headers("application/json;charset=utf-8", &[]), body, FOUR),
            pair(
                "444e3e6a88979c944ed18b37c6e15d5c892d50620dc2dbf5c57a332a99319394",
                "c324d30165ddc16acd4b84828cf21906fbd865d27fdd263a04a4d9825876997e"
            )
        );
    }

    #[test]
    fn vector_3_a_security_token() {
        let path = format!("{NOTEBOOKS}/f9937afa-4451-42db-a76b-72d624749f66/lease");
        let headers = headers("application/json", &[("x-security-token", "SECURITYTOKENEXAMPLE")]);
        let body = br#"{"duration": 3600000, "type": "timing"}"#;
        let names = format!("{FOUR};x-security-token");
        assert_eq!(
            signed(("PATCH", &path, "duration=3600000"), &headers, body, &names),
            pair(
                "511a9dcbac1a8fec2c6f906290c89f91516c396abeb1c625a195eb151dbc7b72",
                "f8e9f459d46474d6b6347ea6cdcf66382a094047bbab16a5161e0e89c8e31224"
            )
        );
    }

    #[test]
    fn vector_4_two_headers_only() {
        let mut headers = headers("unsigned", &[]);
        headers.insert("host", HeaderValue::from_static("iam.eu-de.example.com"));
        assert_eq!(
            signed(("GET", "/v3/projects", "name=eu-de"), &headers, b"", "host;x-sdk-date"),
            pair(
                "ffa2e1e92512671b908fd5faa12f8c985465adc06164e1fc32ccfdb471cdbc32",
                "ddcd714d4cfc05e4d1ba7222b16175608b60635100f65111206188a75035fcb5"
            )
        );
    }

    #[test]
    fn times_have_one_spelling() {
        assert_eq!(moment("19700102T000001Z"), Some(Timestamp::from_millis(86_401_000)));
        for other in
            ["1970-01-02T00:00Z", "19700102T000001", "19700102t000001z", "19701302T000001Z", "", "197001 2T000001Z"]
        {
            assert_eq!(moment(other), None, "{other:?}");
        }
    }

    #[test]
    fn other_algorithms_and_older_forms_are_refused() {
        for keyword in ["SDK-HMAC-SM3", "SDK-ECDSA-P256-SHA256", "SDK-SM2-SM3", "V11-HMAC-SHA256", "Basic"] {
            let refusal = scheme_of(&format!("{keyword} Access=A")).unwrap_err();
            assert_eq!(refusal.code().http_status(), 401, "{keyword}");
        }
        assert_eq!(field("Credential=A/20260115///sdk_request, SignedHeaders=host", "Access="), None);
    }

    #[test]
    fn a_header_that_says_a_thing_twice_is_malformed() {
        assert_eq!(field("Access=A, SignedHeaders=x, Access=B", "Access="), None);
        assert!(check_signed_headers("host;x-sdk-date;Host").is_err());
        assert!(check_signed_headers("host;x-sdk-date").is_ok());
        assert!(check_signed_headers("host").is_err());
        assert!(check_signed_headers("x-sdk-date").is_err());
        let many: Vec<_> = (0..63).map(|n| format!("x-{n}")).chain(["host".into(), "x-sdk-date".into()]).collect();
        assert!(check_signed_headers(&many.join(";")).is_err());
        assert!(check_signed_headers(&many[1..].join(";")).is_ok());
    }
}
