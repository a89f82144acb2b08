//! Sealing: secrets that must be readable back lie in the database as ciphertext.
//!
//! The cipher is XChaCha20-Poly1305 with a random nonce of 24 bytes, long enough that no counter has to survive a
//! crash. The place of a secret (table, column and row) is authenticated with it, so a ciphertext that is copied to
//! another row or column does not open there: whoever can write to the file cannot pass one notebook's token off as
//! another's.
//!
//! A sealed value is one byte of form (1), the nonce, and the ciphertext with its tag.

use std::fmt;
use std::sync::Arc;

use atelier_core::Entropy;
use atelier_store::StoreError;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret as _, SecretString};

/// The form of a sealed value, so that another cipher or key can be told apart one day.
const FORM: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Seals and unseals secrets with the master key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    cipher: Arc<XChaCha20Poly1305>,
    entropy: Arc<dyn Entropy>,
}

impl Sealer {
    /// A sealer with this master key; nonces come from `entropy`.
    pub fn new(key: &[u8; 32], entropy: Arc<dyn Entropy>) -> Self {
        Self { cipher: Arc::new(XChaCha20Poly1305::new(Key::from_slice(key))), entropy }
    }

    /// Seals `secret` for `column` (as `table.column`) of the row with the id `row`.
    pub fn seal(&self, column: &str, row: &str, secret: &SecretString) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let place = place(column, row);
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: place.as_bytes() };
        let ciphertext = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| StoreError::Engine(format!("a secret for `{place}` is too long to seal")))?;
        Ok([&[FORM], nonce.as_slice(), &ciphertext].concat())
    }

    /// Opens what was sealed for this place. Anything else is unreadable: another key, another place, a damaged value.
    pub fn unseal(&self, column: &str, row: &str, sealed: &[u8]) -> Result<SecretString, StoreError> {
        let place = place(column, row);
        self.open(&place, sealed)
            .ok_or_else(|| StoreError::Unreadable(format!("`{place}` does not open with the master key")))
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Option<SecretString> {
        let (nonce, ciphertext) = sealed.strip_prefix(&[FORM])?.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        let plain = self.cipher.decrypt(XNonce::from_slice(nonce), payload).ok()?;
        String::from_utf8(plain).ok().map(SecretString::from)
    }
}

fn place(column: &str, row: &str) -> String {
    format!("{column}:{row}")
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random;

    impl Entropy for Random {
        fn fill(&self, out: &mut [u8]) {
            rand::RngCore::fill_bytes(&mut rand::rng(), out);
        }
    }

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&[key; 32], Arc::new(Random))
    }

    #[test]
    fn a_secret_opens_in_its_place_with_its_key_only() {
        let sealed = sealer(1).seal("t.c", "row", &SecretString::from("secret")).unwrap();
        assert_eq!(sealer(1).unseal("t.c", "row", &sealed).unwrap().expose_secret(), "secret");
        for (key, column, row) in [(2, "t.c", "row"), (1, "t.d", "row"), (1, "t.c", "other")] {
            let error = sealer(key).unseal(column, row, &sealed).unwrap_err();
            assert!(error.to_string().contains(&format!("`{column}:{row}`")), "{error}");
        }
    }

    #[test]
    fn a_changed_byte_or_a_cut_is_noticed() {
        let sealed = sealer(1).seal("t.c", "row", &SecretString::from("secret")).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer(1).unseal("t.c", "row", &changed).is_err(), "byte {at}");
            assert!(sealer(1).unseal("t.c", "row", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn one_secret_sealed_twice_is_two_ciphertexts() {
        let seal = || sealer(1).seal("t.c", "row", &SecretString::from("secret")).unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn nothing_of_the_key_shows_in_debug_output() {
        assert_eq!(format!("{:?}", sealer(1)), "Sealer");
    }
}
