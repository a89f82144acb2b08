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
    if text.len() != 16 {
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
