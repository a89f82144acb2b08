//! Unguessable texts and the hashes they are kept by.

use atelier_core::Entropy;
use atelier_store::people::TokenHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

/// Letters and digits that can be told apart in a terminal and need no quoting anywhere.
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UPPER_ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const TOKEN_BYTES: usize = 32;
const TOKEN_CHARS: usize = 43;

/// The text of a new token: 256 random bits.
pub(crate) fn token(entropy: &dyn Entropy) -> SecretString {
    let mut random = [0; TOKEN_BYTES];
    entropy.fill(&mut random);
    URL_SAFE_NO_PAD.encode(random).into()
}

/// What a token is kept by; nothing for a text that cannot be one, so that nobody has to look it up.
pub(crate) fn token_hash(text: &str) -> Option<TokenHash> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (text.len() == TOKEN_CHARS && text.bytes().all(letter)).then(|| TokenHash(sha256(text.as_bytes())))
}

/// The public half of a new access key.
pub(crate) fn access_key(entropy: &dyn Entropy) -> String {
    random(entropy, UPPER_ALPHANUMERIC, 20)
}

/// The secret half of a new access key.
pub(crate) fn secret_key(entropy: &dyn Entropy) -> SecretString {
    random(entropy, ALPHANUMERIC, 40).into()
}

/// A new password: 142 random bits.
pub(crate) fn password(entropy: &dyn Entropy) -> SecretString {
    random(entropy, ALPHANUMERIC, 24).into()
}

/// `length` letters of `alphabet`, each as likely as any other: bytes past the last whole multiple of the alphabet
/// are thrown away.
fn random(entropy: &dyn Entropy, alphabet: &[u8], length: usize) -> String {
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 64];
        entropy.fill(&mut bytes);
        let letters = bytes.iter().map(|b| usize::from(*b)).filter(|b| *b < fair).map(|b| alphabet[b % alphabet.len()]);
        text.extend(letters.take(length - text.len()).map(char::from));
    }
    text
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use secrecy::ExposeSecret as _;

    use super::*;

    /// Every byte in turn, so that every letter and every unfair byte is met.
    struct Count(AtomicU8);

    impl Entropy for Count {
        fn fill(&self, out: &mut [u8]) {
            out.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn texts_have_their_lengths_and_letters() {
        let entropy = Count(AtomicU8::new(200));
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        assert!(access_key(&entropy).len() == 20 && access_key(&entropy).bytes().all(upper));
        assert_eq!(secret_key(&entropy).expose_secret().len(), 40);
        assert_eq!(password(&entropy).expose_secret().len(), 24);
        assert!(secret_key(&entropy).expose_secret().bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn every_letter_is_as_likely_as_any_other() {
        let entropy = Count(AtomicU8::new(0));
        let text = random(&entropy, ALPHANUMERIC, 248);
        for letter in ALPHANUMERIC {
            assert_eq!(text.bytes().filter(|b| b == letter).count(), 4, "{}", char::from(*letter));
        }
    }

    #[test]
    fn only_what_can_be_a_token_is_looked_up() {
        let text = token(&Count(AtomicU8::new(0)));
        assert!(token_hash(text.expose_secret()).is_some());
        for other in ["", "short", &"=".repeat(43), &"a".repeat(42), &"a".repeat(44)] {
            assert_eq!(token_hash(other), None, "{other:?}");
        }
    }
}
