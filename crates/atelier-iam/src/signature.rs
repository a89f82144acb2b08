//! Signatures of requests: reading the `Authorization` header, and computing what it should hold.
//!
//! Three forms are accepted. They differ in a few places only: what the header carries, the string that is signed, the
//! key it is signed with, and small habits of the canonical form. Those are the methods of [`Scheme`]; everything else
//! (canonical form, clock, comparison, lock-out) is the same for all of them.
//!
//! | form | header | key |
//! |---|---|---|
//! | plain | `SDK-HMAC-SHA256 Access=…` | the secret |
//! | scoped, of older clients | `SDK-HMAC-SHA256 Credential=…/date/region/service/sdk_request` | the secret, bound step by step to date, region and service |
//! | derived | `V11-HMAC-SHA256 Credential=…/date/region/service` | HKDF of the secret for date, region and service |
//!
//! Region and service of a scope are whatever the signer wrote, often nothing: they bind the key, they select nothing
//! here. Its date must be the day of `X-Sdk-Date`, or a key derived for one day would serve for ever.

use atelier_core::clock::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

use crate::canonical::{Habits, IncomingRequest, canonical_request, the_one};
use crate::refusal::AuthRefusal;
use crate::text::sha256;

/// How far the clocks of the two sides may be apart, in milliseconds.
pub const MOST_SKEW_MS: i64 = 15 * 60 * 1000;

/// More than any client sends; a bound on the work that an unproven claim can cause.
const MOST_SIGNED_HEADERS: usize = 64;
const DATE: &str = "x-sdk-date";
/// How a scope of the older form ends.
const SCOPE_END: &str = "sdk_request";

/// A form of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme<'a> {
    /// `SDK-HMAC-SHA256 Access=…`: HMAC with the secret itself.
    Access,
    /// `SDK-HMAC-SHA256 Credential=…`: HMAC with a key that is bound to a scope, link by link.
    Scoped(Scope<'a>),
    /// `V11-HMAC-SHA256 Credential=…`: HMAC with a key that HKDF makes for a scope.
    Derived(Scope<'a>),
}

/// What a key is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scope<'a> {
    /// The whole, as it is signed.
    text: &'a str,
    /// `YYYYMMDD`.
    day: &'a str,
    region: &'a str,
    service: &'a str,
}

impl<'a> Scope<'a> {
    /// `{day}/{region}/{service}`, and what else the form demands behind it.
    fn read(text: &'a str, end: Option<&str>) -> Option<Self> {
        let mut parts = text.split('/');
        let scope = Self { text, day: parts.next()?, region: parts.next()?, service: parts.next()? };
        (parts.next() == end && parts.next().is_none()).then_some(scope)
    }
}

impl<'a> Scheme<'a> {
    /// The scheme and the public half of the key, from the algorithm and the fields behind it.
    fn read(header: &'a str) -> Result<(Self, &'a str, &'a str), AuthRefusal> {
        let (keyword, fields) = header.trim().split_once(' ').ok_or(MALFORMED)?;
        let credential = || field(fields, "Credential=").and_then(|value| value.split_once('/')).ok_or(MALFORMED);
        let (scheme, access) = match keyword {
            "SDK-HMAC-SHA256" => {
                if let Some(access) = field(fields, "Access=") {
                    (Self::Access, access)
                } else {
                    let (access, scope) = credential()?;
                    (Self::Scoped(Scope::read(scope, Some(SCOPE_END)).ok_or(MALFORMED)?), access)
                }
            }
            "V11-HMAC-SHA256" => {
                let (access, scope) = credential()?;
                (Self::Derived(Scope::read(scope, None).ok_or(MALFORMED)?), access)
            }
            other => return Err(not_offered(other)),
        };
        if access.is_empty() { Err(MALFORMED) } else { Ok((scheme, access, fields)) }
    }

    const fn keyword(self) -> &'static str {
        match self {
            Self::Access | Self::Scoped(_) => "SDK-HMAC-SHA256",
            Self::Derived(_) => "V11-HMAC-SHA256",
        }
    }

    const fn scope(self) -> Option<Scope<'a>> {
        match self {
            Self::Access => None,
            Self::Scoped(scope) | Self::Derived(scope) => Some(scope),
        }
    }

    /// How clients of this form write the canonical request; the older ones in two ways.
    const fn habits(self) -> &'static [Habits] {
        match self {
            Self::Access | Self::Derived(_) => &[Habits::PLAIN],
            Self::Scoped(_) => Habits::SCOPED,
        }
    }

    fn string_to_sign(self, date: &str, canonical: &[u8]) -> String {
        let (keyword, hash) = (self.keyword(), hex::encode(sha256(canonical)));
        match self.scope() {
            None => format!("{keyword}\n{date}\n{hash}"),
            Some(scope) => format!("{keyword}\n{date}\n{}\n{hash}", scope.text),
        }
    }

    /// What the string is signed with.
    fn key(self, access: &str, secret: &SecretString) -> Vec<u8> {
        let secret = secret.expose_secret();
        match self {
            Self::Access => secret.as_bytes().to_vec(),
            Self::Scoped(Scope { day, region, service, .. }) => {
                let first = hmac(format!("SDK{secret}").as_bytes(), day.as_bytes());
                let links = [region, service, SCOPE_END];
                links.iter().fold(first, |key, link| hmac(&key, link.as_bytes())).to_vec()
            }
            // The text of the digits is the key, not the bytes that they stand for.
            Self::Derived(scope) => hex::encode(hkdf(access, secret, scope.text)).into_bytes(),
        }
    }
}

/// HKDF with SHA-256, for one block of output: the first is all that is used.
fn hkdf(salt: &str, input: &str, info: &str) -> [u8; 32] {
    let extracted = hmac(salt.as_bytes(), input.as_bytes());
    hmac(&extracted, &[info.as_bytes(), &[1]].concat())
}

/// A request that claims to be signed, its claim read but not believed.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    scheme: Scheme<'a>,
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
        let (scheme, access, fields) = Scheme::read(header.ok_or(MALFORMED)?)?;
        let signed_headers = field(fields, "SignedHeaders=").ok_or(MALFORMED)?;
        let signature = field(fields, "Signature=").ok_or(MALFORMED)?;
        check_signed_headers(signed_headers)?;
        let date = the_one(request.headers, DATE).and_then(|value| str::from_utf8(value).ok()).ok_or(BAD_DATE)?;
        let signed_at = moment(date).ok_or(BAD_DATE)?;
        if scheme.scope().is_some_and(|scope| !date.starts_with(scope.day) || scope.day.len() != 8) {
            return Err(AuthRefusal::BadSignature("the date in `Credential` must be the day of `X-Sdk-Date`"));
        }
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
    /// wherever the difference lies, and every way of writing the request is tried.
    pub(crate) fn is_signed_with(&self, secret: &SecretString) -> bool {
        let key = self.scheme.key(self.access, secret);
        let ways = self.scheme.habits().iter();
        ways.fold(Choice::from(0), |found, habits| found | self.is_signed_in(*habits, &key)).into()
    }

    fn is_signed_in(&self, habits: Habits, key: &[u8]) -> Choice {
        let Some(canonical) = canonical_request(&self.request, self.signed_headers, habits) else {
            return Choice::from(0);
        };
        let string_to_sign = self.scheme.string_to_sign(self.date, &canonical);
        let expected = hex::encode(hmac(key, string_to_sign.as_bytes()));
        expected.as_bytes().ct_eq(self.signature.as_bytes())
    }

    /// The value of a header, when the signature vouches for it.
    pub(crate) fn signed_header(&self, name: &str) -> Option<&'a [u8]> {
        let listed = self.signed_headers.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
        listed.then(|| the_one(self.request.headers, name)).flatten()
    }
}

const MALFORMED: AuthRefusal = AuthRefusal::BadSignature(
    "`Authorization` must be `SDK-HMAC-SHA256 Access=…`, `SDK-HMAC-SHA256 Credential=…/YYYYMMDD/…/…/sdk_request` or \
     `V11-HMAC-SHA256 Credential=…/YYYYMMDD/…/…`, each with `, SignedHeaders=…, Signature=…`",
);
const BAD_DATE: AuthRefusal = AuthRefusal::BadSignature("`X-Sdk-Date` must be a UTC time like `20260115T083000Z`");

/// The other algorithms that the same clients know, by their names: nobody should have to guess what was not understood.
fn not_offered(keyword: &str) -> AuthRefusal {
    AuthRefusal::BadSignature(match keyword {
        "SDK-HMAC-SM3" => "the algorithm `SDK-HMAC-SM3` is not supported by this server; sign with `SDK-HMAC-SHA256`",
        "SDK-ECDSA-P256-SHA256" => {
            "the algorithm `SDK-ECDSA-P256-SHA256` is not supported by this server; sign with `SDK-HMAC-SHA256`"
        }
        "SDK-SM2-SM3" => "the algorithm `SDK-SM2-SM3` is not supported by this server; sign with `SDK-HMAC-SHA256`",
        _ => "the algorithm in `Authorization` must be `SDK-HMAC-SHA256` or `V11-HMAC-SHA256`",
    })
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

    const ACCESS: &str = "AKIDEXAMPLE0000000A";
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
        let canonical = canonical_request(&request, signed_headers, Habits::PLAIN).unwrap();
        (hex::encode(sha256(&canonical)), sign(Scheme::Access, &canonical))
    }

    fn sign(scheme: Scheme<'_>, canonical: &[u8]) -> String {
        let string_to_sign = scheme.string_to_sign("20260115T083000Z", canonical);
        hex::encode(hmac(&scheme.key(ACCESS, &SECRET.into()), string_to_sign.as_bytes()))
    }

    /// What the scheme in this header makes of a `GET` of the notebooks: canonical form, string to sign, key, signature.
    fn derivation(header: &str, query: &str) -> [String; 4] {
        let (scheme, access, _) = Scheme::read(header).unwrap();
        let headers = headers("application/json", &[]);
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let request = IncomingRequest { method: "GET", path: NOTEBOOKS, query, headers: &headers, body: b"", from };
        let canonical = canonical_request(&request, FOUR, scheme.habits()[0]).unwrap();
        let to_sign = scheme.string_to_sign("20260115T083000Z", &canonical);
        let key = scheme.key(access, &SECRET.into());
        let shown =
            if key.iter().all(u8::is_ascii_graphic) { String::from_utf8(key).unwrap() } else { hex::encode(&key) };
        [String::from_utf8(canonical.clone()).unwrap(), to_sign, shown, sign(scheme, &canonical)]
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
    fn vector_5_the_older_scoped_form() {
        let header = "SDK-HMAC-SHA256 Credential=AKIDEXAMPLE0000000A/20260115///sdk_request, SignedHeaders=x";
        let [canonical, to_sign, key, signature] = derivation(header, "limit=10&offset=0");
        let hash = "f86f37aa37e63bc19597f7003a2b734383a1a721e7573ba27b79fa89ef95621e";
        assert_eq!(hex::encode(sha256(canonical.as_bytes())), hash, "{canonical}");
        assert_eq!(to_sign, format!("SDK-HMAC-SHA256\n20260115T083000Z\n20260115///sdk_request\n{hash}"));
        assert_eq!(key, "3f9d1c3b68fc062d82896b3d62b0ec31f4349f0203a91111f017ac03d1c1cf78");
        assert_eq!(signature, "366bb7e50a20443960b79f2d46032229cbf0ee4133f2325f18336f7893674cf0");
    }

    /// Each link of the chain by itself: computed once more with another program.
    #[test]
    fn the_links_of_the_older_form_s_key() {
        let first = hmac(format!("SDK{SECRET}").as_bytes(), b"20260115");
        let region = hmac(&first, b"");
        let service = hmac(&region, b"");
        assert_eq!(hex::encode(first), "46aaf4010a9a7e928dfdbec3d30fa950b58f706ea8cd56f4119887748b1e72b1");
        assert_eq!(hex::encode(region), "5dcdce430f7f099b47ed2e211f22b1dc4898ec54b96ba4e69cdd56636ab1cac4");
        assert_eq!(hex::encode(service), "42674836bf01fcbf23d64b46acc3aab912c5a95e90d4a59d7d73ec675b45feed");
        assert_eq!(
            hex::encode(hmac(&service, b"sdk_request")),
            "3f9d1c3b68fc062d82896b3d62b0ec31f4349f0203a91111f017ac03d1c1cf78"
        );
    }

    #[test]
    fn vector_6_the_derived_form() {
        let header = "V11-HMAC-SHA256 Credential=AKIDEXAMPLE0000000A/20260115/eu-de/modelarts, SignedHeaders=x";
        let [canonical, to_sign, key, signature] = derivation(header, "limit=10");
        let hash = "b88b72b42445c3e282d9e9c949f28f3c40bfa492e67c63e420cfe04d17a26132";
        assert_eq!(hex::encode(sha256(canonical.as_bytes())), hash, "{canonical}");
        assert_eq!(to_sign, format!("V11-HMAC-SHA256\n20260115T083000Z\n20260115/eu-de/modelarts\n{hash}"));
        assert_eq!(
            hex::encode(hmac(ACCESS.as_bytes(), SECRET.as_bytes())),
            "e799ef0779592e1fda6cbfbbef4aade36f2caf0877a016bd24fcdd8163bdfde2"
        );
        assert_eq!(key, "2e3dcfdd704d260b89b434278f285f0ace0b6bbf39332cfff8c2b784cc929d52");
        assert_eq!(signature, "c73934aea443331ff1d70a4947e99c4680c2bf7b0037a763d973885ea083b61c");
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
    fn other_algorithms_are_refused_by_their_names() {
        for keyword in ["SDK-HMAC-SM3", "SDK-ECDSA-P256-SHA256", "SDK-SM2-SM3"] {
            let refusal = Scheme::read(&format!("{keyword} Access=A")).unwrap_err();
            assert_eq!(refusal.code().http_status(), 401, "{keyword}");
            assert!(refusal.to_string().contains(&format!("`{keyword}` is not supported")), "{refusal}");
        }
        let refusal = Scheme::read("Basic Access=A").unwrap_err();
        assert_eq!(refusal.code().http_status(), 401);
        assert!(refusal.to_string().contains("`V11-HMAC-SHA256`"), "{refusal}");
    }

    #[test]
    fn scopes_have_all_their_parts_and_no_more() {
        let read = |credential: &str, keyword: &str| {
            let header = format!("{keyword} Credential={credential}, SignedHeaders=h, Signature=s");
            Scheme::read(&header)
                .map(|(scheme, access, _)| (access.to_owned(), scheme.scope().unwrap().text.to_owned()))
        };
        let older = |credential: &str| read(credential, "SDK-HMAC-SHA256");
        assert_eq!(older("A/20260115/r/s/sdk_request"), Ok(("A".into(), "20260115/r/s/sdk_request".into())));
        for wrong in [
            "A",
            "A/20260115",
            "A/20260115//",
            "A/20260115///sdk_requests",
            "A/20260115////sdk_request",
            "A/20260115///sdk_request/x",
            "/20260115///sdk_request",
        ] {
            assert_eq!(older(wrong), Err(MALFORMED), "{wrong}");
        }
        let derived = |credential: &str| read(credential, "V11-HMAC-SHA256");
        assert_eq!(derived("A/20260115//"), Ok(("A".into(), "20260115//".into())));
        for wrong in ["A", "A/20260115/r", "A/20260115/r/s/sdk_request", "/20260115/r/s"] {
            assert_eq!(derived(wrong), Err(MALFORMED), "{wrong}");
        }
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
