//! Certificates, as far as they are looked at here: whom they are for, from when until when, and whether a key is
//! theirs.
//!
//! Whether a chain leads to a root is the client's business. What is asked here is what an operator gets wrong: the
//! wrong file, the key of another certificate, a certificate that has ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_core::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} must hold {wanted} in PEM", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The certificate is damaged, or the key is another one's.
    #[error("{} cannot be used: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A certificate, with those that lead from it towards a root.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    /// From when it counts.
    pub(crate) from: Timestamp,
    /// Until when.
    pub(crate) until: Timestamp,
}

impl Certificate {
    /// Reads a file: the certificate first, then those above it.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateError> {
        let text = read(path)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(CertificateError::Missing { path: path.to_owned(), wanted: "certificates" })?;
        Self::of(chain).ok_or_else(|| unusable(path, "its first certificate cannot be understood"))
    }

    /// What these bytes say; `None` when they are no certificate.
    pub(crate) fn of(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let (from, until) = validity(chain.first()?)?;
        Some(Self { chain, from, until })
    }

    /// Whether it is for this name or address.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let bare = name.trim_matches(|c| c == '[' || c == ']');
        let Ok(name) = ServerName::try_from(bare) else { return false };
        let parsed = self.chain.first().and_then(|first| ParsedCertificate::try_from(first).ok());
        parsed.is_some_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok())
    }

    /// Joins it with its key, which the file at `key` holds.
    pub(crate) fn with_key(
        &self,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, CertificateError> {
        let text = read(key)?;
        let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::Missing {
            path: key.to_owned(),
            wanted: "a private key without a passphrase",
        })?;
        let joined = CertifiedKey::from_der(self.chain.clone(), secret, provider);
        joined.map(Arc::new).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => unusable(key, "it is the key of another certificate"),
            other => unusable(key, &other.to_string()),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
}

fn unusable(path: &Path, why: &str) -> CertificateError {
    CertificateError::Unusable { path: path.to_owned(), why: why.to_owned() }
}

/// The two ends of a certificate's time. The library that checks certificates does not tell them, so they are taken
/// from their place: the fourth or fifth element of what was signed (RFC 5280, 4.1).
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let inside = |(tag, content, _)| (tag == SEQUENCE).then_some(content);
    let signed = inside(element(inside(element(certificate)?)?)?)?;
    let mut rest = signed;
    if element(rest)?.0 == VERSION {
        rest = element(rest)?.2;
    }
    for _serial_algorithm_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    let times = inside(element(rest)?)?;
    let (first_kind, first, rest) = element(times)?;
    let (second_kind, second, _) = element(rest)?;
    Some((time(first_kind, first)?, time(second_kind, second)?))
}

/// One element of DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f)).filter(|(d, _)| d.len() <= 4)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A time in either of the two spellings: years of two digits (before 2050) or of four.
fn time(kind: u8, text: &[u8]) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let digits = text.bytes().all(|b| b.is_ascii_digit()).then_some(text)?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let short: i16 = digits.get(..2)?.parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, digits.get(2..)?)
        }
        GENERALIZED_TIME => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let point = jiff::civil::DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    let point = jiff::tz::TimeZone::UTC.to_timestamp(point).ok()?;
    (rest.len() == 10).then(|| Timestamp::from_millis(point.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_time_are_read() {
        let read = |kind, text: &str| time(kind, text.as_bytes()).map(Timestamp::as_millis);
        assert_eq!(read(0x17, "700101000000Z"), Some(0));
        assert_eq!(read(0x17, "491231235959Z"), Some(2_524_607_999_000));
        assert_eq!(read(0x18, "20500101000000Z"), Some(2_524_608_000_000));
        for (kind, wrong) in [
            (0x17, "700101000000"),
            (0x17, "701301000000Z"),
            (0x17, "7001010000Z"),
            (0x18, "700101000000Z"),
            (0x18, "2050010100000000Z"),
            (0x04, "700101000000Z"),
            (0x17, "70010100000\u{e9}Z"),
        ] {
            assert_eq!(read(kind, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 3, 4);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let found = Certificate::of(vec![der.clone().into()]).unwrap();
        assert_eq!((found.from.as_millis(), found.until.as_millis()), (1_767_312_000_000, 2_561_500_800_000));
        let covered = ["a.example", "192.0.2.1", "b.example", "192.0.2.2", "", "a b"].map(|name| found.covers(name));
        assert_eq!(covered, [true, true, false, false, false, false]);
        for length in 0..der.len() {
            assert!(Certificate::of(vec![der[..length].to_vec().into()]).is_none(), "{length}");
        }
    }
}
