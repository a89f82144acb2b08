//! The self-made CA: TLS for a first try, without a domain and without anybody's leave.
//!
//! The root lives in the data folder and is made for the names of this server only: it carries name constraints, so
//! that whoever imports it into a browser does not hand the key to the whole web to this folder. When the names change,
//! the old root cannot vouch for them, and a new one is made.
//!
//! Below it stands one leaf for the fixed names, kept on disk, so that somebody who has clicked a browser's warning away
//! is not asked again after every restart. Notebooks have names of their own, `<id>.<domain>`, and a wildcard does not
//! do: browsers and OpenSSL take `*.localhost` for a wildcard over a whole top-level domain. So each notebook's name gets
//! a leaf at the moment it is asked for: the same key, signed once more, kept in memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use atelier_core::id::NotebookId;
use atelier_core::{Clock, Entropy, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{DAY_MS, TlsError, provider};
use crate::certificate::Certificate;
use crate::folder::write_private;

/// The root, in the data folder: what clients have to trust.
pub(crate) const CA_FILE: &str = "tls/ca.pem";
const CA_KEY: &str = "ca.key";
const LEAF: &str = "server.pem";
const LEAF_KEY: &str = "server.key";

/// How long a root lasts: people import it by hand.
const ROOT_DAYS: i64 = 3650;
/// How long a leaf lasts, and how much of that must be left.
const LEAF_DAYS: i64 = 90;
const RENEW_DAYS: i64 = 30;
/// Leaves of notebooks kept at a time. Anybody can ask for any id, and a leaf is made again in no time.
const MOST_LEAVES: usize = 1024;

/// The names that the server is reached by.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Names {
    domain: String,
    public: String,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// Notebooks live below `domain`, the API at `public`; `listens` is the address of the socket, where it has one.
    pub(in crate::serve) fn of(domain: &str, public: &str, listens: Option<IpAddr>) -> Self {
        let public = public.trim_matches(|c| c == '[' || c == ']').to_owned();
        let fixed = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let mut addresses: Vec<_> =
            fixed.into_iter().chain(listens.filter(|ip| !ip.is_unspecified())).chain(public.parse()).collect();
        addresses.sort();
        addresses.dedup();
        Self { domain: domain.to_owned(), public, addresses }
    }

    /// What clients are told to go to: the public name, and some notebook's.
    pub(super) fn shown(&self) -> impl Iterator<Item = String> {
        [self.public.clone(), format!("{}.{}", uuid_like(), self.domain)].into_iter()
    }

    /// The host names, without the notebooks'.
    fn hosts(&self) -> Vec<String> {
        let mut hosts = vec!["localhost".to_owned(), self.domain.clone()];
        if self.public.parse::<IpAddr>().is_err() {
            hosts.push(self.public.clone());
        }
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// Everything that the fixed leaf is for.
    fn fixed(&self) -> Vec<String> {
        let mut names = self.hosts();
        names.extend(self.addresses.iter().map(ToString::to_string));
        names
    }

    fn notebook(&self, name: &str) -> Option<NotebookId> {
        name.strip_suffix(&self.domain)?.strip_suffix('.')?.parse().ok()
    }
}

/// A name that a notebook could have.
const fn uuid_like() -> &'static str {
    "00000000-0000-7000-8000-000000000000"
}

pub(in crate::serve) struct OwnCa {
    folder: PathBuf,
    names: Names,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    root: Root,
    leaf: RwLock<Leaf>,
    notebooks: Mutex<HashMap<NotebookId, Arc<CertifiedKey>>>,
}

/// What signs.
struct Root {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    der: CertificateDer<'static>,
    pem: String,
}

/// What is shown, with the key that all leaves share.
struct Leaf {
    key: KeyPair,
    pair: Arc<CertifiedKey>,
    until: Timestamp,
}

impl OwnCa {
    pub(super) fn open(
        data: &Path,
        names: Names,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, TlsError> {
        let folder = data.join("tls");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| failed(&folder, e))?;
        let now = clock.now();
        let (root, leaf) = match kept(&folder, &names, now)? {
            Some(Kept { root, leaf: Some(leaf) }) => (root, leaf),
            Some(Kept { root, leaf: None }) => {
                let leaf = Leaf::make(&folder, &root, &names, now, &*entropy)?;
                (root, leaf)
            }
            None => {
                let root = Root::make(&folder, &names, now, &*entropy)?;
                tracing::warn!(
                    "a CA has been made: browsers and programs connect as soon as they trust {}",
                    data.join(CA_FILE).display()
                );
                let leaf = Leaf::make(&folder, &root, &names, now, &*entropy)?;
                (root, leaf)
            }
        };
        Ok(Self { folder, names, clock, entropy, root, leaf: RwLock::new(leaf), notebooks: Mutex::default() })
    }

    /// The root, in PEM.
    pub(super) fn pem(&self) -> &str {
        &self.root.pem
    }

    /// When the root ends.
    pub(super) fn root_until(&self) -> Timestamp {
        self.root.certificate.until
    }

    /// Renews the leaf in time.
    pub(super) fn look(&self) {
        let now = self.clock.now();
        let due = self.leaf.read().unwrap_or_else(PoisonError::into_inner).is_due(now);
        if !due {
            return;
        }
        match Leaf::make(&self.folder, &self.root, &self.names, now, &*self.entropy) {
            Ok(new) => {
                *self.leaf.write().unwrap_or_else(PoisonError::into_inner) = new;
                self.notebooks.lock().unwrap_or_else(PoisonError::into_inner).clear();
                tracing::info!("the self-made certificate has been renewed");
            }
            Err(e) => tracing::error!("the self-made certificate cannot be renewed: {e}"),
        }
    }

    fn for_notebook(&self, id: NotebookId) -> Option<Arc<CertifiedKey>> {
        let mut notebooks = self.notebooks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = notebooks.get(&id) {
            return Some(known.clone());
        }
        let leaf = self.leaf.read().unwrap_or_else(PoisonError::into_inner);
        let names = vec![format!("{id}.{}", self.names.domain)];
        let der = self.root.sign(names, &leaf.key, self.clock.now(), &*self.entropy).ok()?;
        let made = Arc::new(CertifiedKey::new(vec![der], leaf.pair.key.clone()));
        if notebooks.len() >= MOST_LEAVES {
            notebooks.clear();
        }
        notebooks.insert(id, made.clone());
        Some(made)
    }
}

impl ResolvesServerCert for OwnCa {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let id = hello.server_name().and_then(|name| self.names.notebook(name));
        let made = id.and_then(|id| self.for_notebook(id));
        made.or_else(|| Some(self.leaf.read().unwrap_or_else(PoisonError::into_inner).pair.clone()))
    }
}

impl std::fmt::Debug for OwnCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCa").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What is in the folder already, and still good for these names.
struct Kept {
    root: Root,
    leaf: Option<Leaf>,
}

fn kept(folder: &Path, names: &Names, now: Timestamp) -> Result<Option<Kept>, TlsError> {
    let Some(root) = Root::read(folder)? else { return Ok(None) };
    // The library that reads certificates does not tell their constraints, so the root is put to the proof.
    let probe = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(own)?;
    let probe = root.sign(names.fixed(), &probe, now, &Zeroes)?;
    let lasts = now.plus_millis(LEAF_DAYS * DAY_MS);
    if !root.vouches_for(&probe, names, now) || root.certificate.until < lasts {
        tracing::warn!("the self-made CA is not for the names of today, or ends soon: it is replaced");
        return Ok(None);
    }
    let leaf = Leaf::read(folder).filter(|(_, der)| root.vouches_for(der, names, now));
    let leaf = leaf.map(|(leaf, _)| leaf).filter(|leaf| !leaf.is_due(now));
    Ok(Some(Kept { root, leaf }))
}

impl Root {
    fn make(folder: &Path, names: &Names, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(own)?;
        let mut params = params(&key)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(constraints(names));
        last(&mut params, now, ROOT_DAYS)?;
        params.serial_number = Some(serial(entropy));
        let certificate = params.self_signed(&key).map_err(own)?;
        let pem = certificate.pem();
        put(&folder.join(CA_KEY), key.serialize_pem().as_bytes())?;
        put(&ca_file(folder), pem.as_bytes())?;
        Self::of(pem, key)
    }

    /// The root of the folder; `None` when there is none, or only half of one.
    fn read(folder: &Path) -> Result<Option<Self>, TlsError> {
        let (pem, key) = (text(&ca_file(folder))?, text(&folder.join(CA_KEY))?);
        let (Some(pem), Some(key)) = (pem, key) else { return Ok(None) };
        let key = KeyPair::from_pem(&key).map_err(|e| failed(&folder.join(CA_KEY), e))?;
        Self::of(pem, key).map(Some)
    }

    fn of(pem: String, key: KeyPair) -> Result<Self, TlsError> {
        let damaged = || TlsError::OwnCa(format!("`{CA_FILE}` of the data folder is damaged; remove it for a new one"));
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| damaged())?;
        let certificate = Certificate::of(vec![der.clone()]).ok_or_else(damaged)?;
        let issuer = Issuer::new(params(&key)?, key);
        Ok(Self { issuer, certificate, der, pem })
    }

    /// A leaf for these names.
    fn sign(
        &self,
        names: Vec<String>,
        key: &KeyPair,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<CertificateDer<'static>, TlsError> {
        let mut params = CertificateParams::new(names).map_err(own)?;
        params.distinguished_name.push(DnType::CommonName, "Atelier");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        last(&mut params, now, LEAF_DAYS)?;
        params.serial_number = Some(serial(entropy));
        Ok(params.signed_by(key, &self.issuer).map_err(own)?.der().clone())
    }

    /// Whether a client that trusts this root believes the leaf for all the fixed names.
    fn vouches_for(&self, leaf: &CertificateDer<'_>, names: &Names, now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(self.der.clone()).is_err() {
            return false;
        }
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build() else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis().try_into().unwrap_or(0)));
        let names = names.hosts().into_iter().chain(names.addresses.iter().map(ToString::to_string));
        names
            .map(ServerName::try_from)
            .all(|name| name.is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], now).is_ok()))
    }
}

impl Leaf {
    fn make(
        folder: &Path,
        root: &Root,
        names: &Names,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(own)?;
        let der = root.sign(names.fixed(), &key, now, entropy)?;
        put(&folder.join(LEAF_KEY), key.serialize_pem().as_bytes())?;
        put(&folder.join(LEAF), pem_of(&der).as_bytes())?;
        Self::of(key, der).ok_or_else(|| TlsError::OwnCa("its own certificate cannot be understood".into()))
    }

    /// The leaf of the folder. One that cannot be read is made anew, so that nobody has to be told.
    fn read(folder: &Path) -> Option<(Self, CertificateDer<'static>)> {
        let key = KeyPair::from_pem(&text(&folder.join(LEAF_KEY)).ok()??).ok()?;
        let der = CertificateDer::from_pem_slice(text(&folder.join(LEAF)).ok()??.as_bytes()).ok()?;
        Some((Self::of(key, der.clone())?, der))
    }

    fn of(key: KeyPair, der: CertificateDer<'static>) -> Option<Self> {
        let until = Certificate::of(vec![der.clone()])?.until;
        let secret = PrivateKeyDer::try_from(key.serialize_der()).ok()?;
        let pair = CertifiedKey::from_der(vec![der], secret, &provider()).ok()?;
        Some(Self { key, pair: Arc::new(pair), until })
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.until.millis_since(now) < RENEW_DAYS * DAY_MS
    }
}

fn ca_file(folder: &Path) -> PathBuf {
    folder.join(CA_FILE.rsplit('/').next().unwrap_or(CA_FILE))
}

/// The root's own name: by it clients find the root of a leaf, so it must be the same whenever the key is.
fn params(key: &KeyPair) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(own)?;
    let id = params.key_identifier(key).iter().take(4).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Atelier");
    params.distinguished_name.push(DnType::CommonName, format!("Atelier self-made CA {id}"));
    Ok(params)
}

fn constraints(names: &Names) -> NameConstraints {
    let hosts = names.hosts().into_iter().map(GeneralSubtree::DnsName);
    let alone = |ip: &IpAddr| CidrSubnet::from_addr_prefix(*ip, if ip.is_ipv4() { 32 } else { 128 });
    let addresses = names.addresses.iter().map(|ip| GeneralSubtree::IpAddress(alone(ip)));
    NameConstraints { permitted_subtrees: hosts.chain(addresses).collect(), excluded_subtrees: Vec::new() }
}

/// From yesterday on, for clients whose clock is behind.
fn last(params: &mut CertificateParams, now: Timestamp, days: i64) -> Result<(), TlsError> {
    let day = |at: Timestamp| {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).map_err(own)?;
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        Ok::<_, TlsError>(rcgen::date_time_ymd(date.year().into(), month, day))
    };
    params.not_before = day(now.plus_millis(-DAY_MS))?;
    params.not_after = day(now.plus_millis(days * DAY_MS))?;
    Ok(())
}

/// Sixteen bytes that nobody else has used, positive as a number.
fn serial(entropy: &dyn Entropy) -> SerialNumber {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// For what is signed and thrown away.
struct Zeroes;

impl Entropy for Zeroes {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn pem_of(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn put(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    write_private(path, content).map_err(|e| failed(path, e))
}

/// A file's text; `None` when it is not there.
fn text(path: &Path) -> Result<Option<String>, TlsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, e)),
    }
}

fn own(error: impl std::fmt::Display) -> TlsError {
    TlsError::OwnCa(error.to_string())
}

fn failed(path: &Path, error: impl std::fmt::Display) -> TlsError {
    TlsError::OwnCa(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_core::clock::ManualClock;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
    const ID: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";

    struct Counting(Mutex<u8>);

    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) {
            let mut next = self.0.lock().unwrap();
            *next += 1;
            out.fill(*next);
        }
    }

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::at(NOW))
    }

    fn open_at(folder: &Path, domain: &str, public: &str, clock: Arc<ManualClock>) -> OwnCa {
        let names = Names::of(domain, public, "192.0.2.9".parse().ok());
        OwnCa::open(folder, names, clock, Arc::new(Counting(Mutex::new(0)))).unwrap()
    }

    fn open(folder: &Path, domain: &str, public: &str) -> OwnCa {
        open_at(folder, domain, public, clock())
    }

    fn leaf(ca: &OwnCa) -> CertificateDer<'static> {
        ca.leaf.read().unwrap().pair.end_entity_cert().unwrap().clone().into_owned()
    }

    /// Whether a client that trusts the root goes on after this leaf was shown for `name`.
    fn believed(ca: &OwnCa, leaf: &CertificateDer<'_>, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(ca.clock.now().as_millis().try_into().unwrap()));
        verifier.verify_server_cert(leaf, &[], &name.to_owned().try_into().unwrap(), &[], now).is_ok()
    }

    #[test]
    fn the_leaf_is_for_every_fixed_name_and_for_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ca = open(folder.path(), "nb.example", "atelier.example");
        let leaf = leaf(&ca);
        for name in ["localhost", "127.0.0.1", "::1", "192.0.2.9", "atelier.example", "nb.example"] {
            assert!(believed(&ca, &leaf, name), "{name}");
        }
        for name in ["example", "www.example", "192.0.2.10", "a.nb.example"] {
            assert!(!believed(&ca, &leaf, name), "{name}");
        }
    }

    #[test]
    fn each_notebook_is_shown_a_leaf_with_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let ca = open(folder.path(), "localhost", "localhost");
        let name = format!("{ID}.localhost");
        let id = ca.names.notebook(&name).unwrap();
        let made = ca.for_notebook(id).unwrap();
        let der = made.end_entity_cert().unwrap();
        assert!(believed(&ca, der, &name) && !believed(&ca, der, "localhost"));
        assert!(Arc::ptr_eq(&made, &ca.for_notebook(id).unwrap()), "it is made once");
        made.keys_match().unwrap();
        for stranger in ["localhost", "x.localhost", &format!("{ID}.localhost.evil.example"), &format!("{ID}localhost")]
        {
            assert_eq!(ca.names.notebook(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn what_anybody_can_ask_for_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let ca = open(folder.path(), "localhost", "localhost");
        let made = ca.for_notebook(ID.parse().unwrap()).unwrap();
        let mut notebooks = ca.notebooks.lock().unwrap();
        for n in 1..MOST_LEAVES {
            notebooks.insert(format!("0197f2d0-4ba4-7bbf-8b1d-{n:012x}").parse().unwrap(), made.clone());
        }
        drop(notebooks);
        ca.for_notebook("0197f2d0-4ba4-7bbf-8b1d-ffffffffffff".parse().unwrap()).unwrap();
        assert_eq!(ca.notebooks.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_root_can_vouch_for_the_names_of_this_server_only() {
        let folder = tempfile::tempdir().unwrap();
        let ca = open(folder.path(), "nb.example", "atelier.example");
        let key = KeyPair::generate().unwrap();
        for name in ["bank.example", "example", "192.0.2.10", "10.0.0.1"] {
            let forged = ca.root.sign(vec![name.to_owned()], &key, NOW, &Zeroes).unwrap();
            assert!(!believed(&ca, &forged, name), "{name}");
        }
    }

    #[test]
    fn a_restart_changes_nothing_and_new_names_make_a_new_root() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "localhost", "localhost");
        let again = open(folder.path(), "localhost", "localhost");
        assert_eq!((first.pem(), leaf(&first)), (again.pem(), leaf(&again)));
        let other = open(folder.path(), "localhost", "atelier.example");
        assert_ne!(other.pem(), first.pem());
        assert!(believed(&other, &leaf(&other), "atelier.example"));
        for file in ["ca.pem", "ca.key", "server.pem", "server.key"] {
            let mode = std::fs::metadata(folder.path().join("tls").join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{file}");
        }
    }

    #[test]
    fn the_leaf_is_renewed_in_time_and_the_root_stays() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let ca = open_at(folder.path(), "localhost", "localhost", clock.clone());
        let (root, first) = (ca.pem().to_owned(), leaf(&ca));
        let notebook = ca.for_notebook(ID.parse().unwrap()).unwrap();
        clock.advance((LEAF_DAYS - RENEW_DAYS - 2) * DAY_MS);
        ca.look();
        assert_eq!(leaf(&ca), first);
        clock.advance(2 * DAY_MS);
        ca.look();
        assert_ne!(leaf(&ca), first);
        assert!(believed(&ca, &leaf(&ca), "localhost"));
        assert!(!Arc::ptr_eq(&notebook, &ca.for_notebook(ID.parse().unwrap()).unwrap()));
        let again = open_at(folder.path(), "localhost", "localhost", clock);
        assert_eq!((again.pem(), leaf(&again)), (root.as_str(), leaf(&ca)));
    }

    #[test]
    fn half_of_what_belongs_together_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "localhost", "localhost");
        let other = tempfile::tempdir().unwrap();
        drop(open(other.path(), "localhost", "localhost"));
        std::fs::copy(other.path().join("tls/server.key"), folder.path().join("tls/server.key")).unwrap();
        let second = open(folder.path(), "localhost", "localhost");
        assert_eq!(second.pem(), first.pem());
        assert!(leaf(&second) != leaf(&first) && believed(&second, &leaf(&second), "localhost"));
        std::fs::copy(other.path().join("tls/ca.key"), folder.path().join("tls/ca.key")).unwrap();
        let third = open(folder.path(), "localhost", "localhost");
        assert!(third.pem() != first.pem() && believed(&third, &leaf(&third), "localhost"));
    }
}
