//! TLS at the door: what is shown to clients, and how it changes while the server runs.
//!
//! There are two sources of certificates. *Files* are somebody else's work (an ACME client, an operator) and may change
//! at any time; they are looked at every few seconds, and at once after a SIGHUP. A new pair that is whole is shown to
//! new connections from then on, and old connections live on with what they have agreed upon. One that is not whole
//! changes nothing but the log: the last good pair stays. The *self-made CA* ([`own_ca`]) is for a first try, and needs
//! nobody.
//!
//! Which protocol follows is agreed upon in the handshake (ALPN): HTTP/2, or HTTP/1.1 for those who want nothing else,
//! among them every browser that opens a WebSocket.

mod files;
mod own_ca;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atelier_core::{Clock, Entropy, Timestamp};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::files::Files;
pub(crate) use self::own_ca::CA_FILE;
pub(super) use self::own_ca::Names;
use self::own_ca::OwnCa;
use crate::certificate::CertificateError;
use crate::config;

/// The protocol names of ALPN, the better one first.
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A certificate that ends this soon is spoken of, once a day.
const SOON_MS: i64 = 14 * DAY_MS;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The files of the configuration.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The self-made CA.
    #[error("the self-made CA: {0}")]
    OwnCa(String),
    /// The library refuses.
    #[error("{0}")]
    Library(#[from] rustls::Error),
}

/// Where certificates come from. Cheap to clone.
#[derive(Clone)]
pub(super) enum Tls {
    Files(Arc<Files>),
    OwnCa(Arc<OwnCa>),
}

/// The one implementation of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Tls {
    /// The source that the configuration names; `None` for plain HTTP.
    pub(super) fn open(
        config: &config::Tls,
        folder: &Path,
        names: Names,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Option<Self>, TlsError> {
        Ok(match config {
            config::Tls::Off => None,
            config::Tls::Files { certificate, key } => {
                Some(Self::Files(Arc::new(Files::open(certificate, key, names, clock)?)))
            }
            config::Tls::SelfMade => Some(Self::OwnCa(Arc::new(OwnCa::open(folder, names, clock, entropy)?))),
        })
    }

    /// What shakes hands.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = match self {
            Self::Files(files) => files.clone(),
            Self::OwnCa(ca) => ca.clone(),
        };
        // Versions 1.2 and 1.3: the library knows no older ones.
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The root that clients have to trust, in PEM, when it is of our own making.
    pub(super) fn ca_certificate(&self) -> Option<String> {
        match self {
            Self::Files(_) => None,
            Self::OwnCa(ca) => Some(ca.pem().to_owned()),
        }
    }

    /// Keeps up with the files, or with the time, until `stop`. `again`: somebody asks for it now.
    pub(super) async fn keep(self, clock: Arc<dyn Clock>, again: Arc<Notify>, stop: CancellationToken) {
        let mut told = None;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = again.notified() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            match &self {
                Self::Files(files) => drop(files.look(asked)),
                Self::OwnCa(ca) => ca.look(),
            }
            self.warn_of_the_end(clock.now(), &mut told);
        }
    }

    fn warn_of_the_end(&self, now: Timestamp, told: &mut Option<Timestamp>) {
        let until = match self {
            Self::Files(files) => files.until(),
            Self::OwnCa(ca) => ca.root_until(),
        };
        let left = until.millis_since(now);
        if left < SOON_MS && told.is_none_or(|at| now.millis_since(at) >= DAY_MS) {
            *told = Some(now);
            let until = crate::times::point(until.as_millis());
            if left < 0 {
                tracing::error!("the certificate has ended at {until}: clients refuse to connect");
            } else {
                tracing::warn!("the certificate ends at {until}");
            }
        }
    }
}
