//! A certificate and its key in files that somebody else writes.
//!
//! The two files are written one after the other, so for a moment they do not fit. A change is therefore tried only once
//! it has been seen twice alike; a SIGHUP is the writer's word that it is whole, and is followed at once.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use atelier_core::{Clock, Timestamp};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Names, TlsError, provider};
use crate::certificate::{Certificate, CertificateError};
use crate::times;

/// What tells one state of a file from the next without reading it: device, inode, length, and the time of writing.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

pub(in crate::serve) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    names: Names,
    clock: Arc<dyn Clock>,
    shown: RwLock<Shown>,
    seen: Mutex<Seen>,
}

#[derive(Clone)]
struct Shown {
    pair: Arc<CertifiedKey>,
    until: Timestamp,
}

struct Seen {
    tried: [Stamp; 2],
    last: [Stamp; 2],
}

/// What came of a look.
#[derive(Debug)]
pub(super) enum Looked {
    /// Nothing is to be done.
    Alike,
    /// A new pair is shown from now on.
    Taken,
    /// What is there now cannot be used; the last good pair stays.
    Refused,
}

impl Files {
    pub(super) fn open(certificate: &Path, key: &Path, names: Names, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let stamps = [stamp(certificate), stamp(key)];
        let shown = read(certificate, key, &names, clock.now())?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            names,
            clock,
            shown: RwLock::new(shown),
            seen: Mutex::new(Seen { tried: stamps, last: stamps }),
        })
    }

    /// Looks whether the files have changed; `asked`: somebody says so.
    pub(super) fn look(&self, asked: bool) -> Looked {
        let now = [stamp(&self.certificate), stamp(&self.key)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = std::mem::replace(&mut seen.last, now) == now;
        if !asked && (!settled || seen.tried == now) {
            return Looked::Alike;
        }
        seen.tried = now;
        self.take()
    }

    fn take(&self) -> Looked {
        match read(&self.certificate, &self.key, &self.names, self.clock.now()) {
            Ok(new) => {
                let until = times::point(new.until.as_millis());
                tracing::info!(file = %self.certificate.display(), "a new certificate is shown; it ends at {until}");
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = new;
                Looked::Taken
            }
            Err(e) => {
                tracing::error!("the new certificate is not taken, the last one stays: {e}");
                Looked::Refused
            }
        }
    }

    /// When what is shown ends.
    pub(super) fn until(&self) -> Timestamp {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).until
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

fn read(certificate: &Path, key: &Path, names: &Names, now: Timestamp) -> Result<Shown, CertificateError> {
    let found = Certificate::read(certificate)?;
    let pair = found.with_key(key, &provider())?;
    let file = certificate.display();
    if found.until < now || now < found.from {
        tracing::error!(
            "the certificate in {file} counts from {} to {}, not now: clients refuse to connect",
            times::point(found.from.as_millis()),
            times::point(found.until.as_millis())
        );
    }
    for name in names.shown().filter(|name| !found.covers(name)) {
        tracing::warn!("the certificate in {file} is not for `{name}`: clients that go there refuse to connect");
    }
    Ok(Shown { pair, until: found.until })
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).pair.clone())
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_core::clock::ManualClock;

    struct Written {
        folder: tempfile::TempDir,
    }

    impl Written {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Writes a certificate for `name`, and its key.
        fn write(&self, name: &str) {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            std::fs::write(self.path("c"), made.cert.pem()).unwrap();
            std::fs::write(self.path("k"), made.signing_key.serialize_pem()).unwrap();
        }

        fn open(&self) -> Result<Files, TlsError> {
            let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_000_000_000)));
            Files::open(&self.path("c"), &self.path("k"), Names::of("localhost", "localhost", None), clock)
        }
    }

    fn written(name: &str) -> Written {
        let written = Written { folder: tempfile::tempdir().unwrap() };
        written.write(name);
        written
    }

    fn shown(files: &Files) -> Vec<u8> {
        files.shown.read().unwrap().pair.end_entity_cert().unwrap().to_vec()
    }

    #[test]
    fn a_change_is_taken_once_it_rests() {
        let written = written("a.example");
        let files = written.open().unwrap();
        let first = shown(&files);
        assert!(matches!(files.look(false), Looked::Alike));
        written.write("b.example");
        assert!(matches!(files.look(false), Looked::Alike), "it has been seen once");
        assert!(matches!(files.look(false), Looked::Taken));
        assert_ne!(shown(&files), first);
        assert!(matches!(files.look(false), Looked::Alike));
    }

    #[test]
    fn whoever_asks_is_not_made_to_wait() {
        let written = written("a.example");
        let files = written.open().unwrap();
        written.write("b.example");
        assert!(matches!(files.look(true), Looked::Taken));
    }

    #[test]
    fn a_broken_pair_changes_nothing_is_told_once_and_does_not_stand_in_the_way_of_a_whole_one() {
        let written = written("a.example");
        let files = written.open().unwrap();
        let first = shown(&files);
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for (file, content) in [("k", other.as_str()), ("c", "no certificate"), ("k", "")] {
            std::fs::write(written.path(file), content).unwrap();
            files.look(false);
            assert!(matches!(files.look(false), Looked::Refused), "{content}");
            assert!(matches!(files.look(false), Looked::Alike), "told once");
            assert_eq!(shown(&files), first);
        }
        std::fs::remove_file(written.path("c")).unwrap();
        files.look(false);
        assert!(matches!(files.look(false), Looked::Refused));
        written.write("b.example");
        files.look(false);
        assert!(matches!(files.look(false), Looked::Taken));
    }

    #[test]
    fn nothing_is_opened_without_a_whole_pair() {
        let written = written("a.example");
        std::fs::write(written.path("k"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let told = written.open().err().unwrap().to_string();
        assert!(told.ends_with("/k cannot be used: it is the key of another certificate"), "{told}");
        std::fs::write(
            written.path("k"),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )
        .unwrap();
        let told = written.open().err().unwrap().to_string();
        assert!(told.ends_with("/k must hold a private key without a passphrase in PEM"), "{told}");
    }
}
