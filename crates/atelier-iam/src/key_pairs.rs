//! Key pairs for SSH: made here or imported, listed, described and removed by the user whose they are.
//!
//! A private half that is made here leaves in the answer to its creation and is kept nowhere, neither in the store nor
//! in memory: whoever loses it makes another pair.
//!
//! An imported public key is kept to the letter, comment and line end included, because clients compare what they
//! sent with what they read. It must be one that opens an SSH door today: Ed25519, ECDSA on a NIST curve, or RSA of at
//! least 2048 bits.

use atelier_core::Caller;
use atelier_core::clock::Entropy;
use atelier_core::refusal::{Code, Refusal};
use atelier_store::StoreError;
use atelier_store::key_pairs::{KeyPair, KeyPairOwner, KeyPairWritten, NewKeyPair};
use secrecy::SecretString;
use ssh_key::private::{Ed25519Keypair, KeypairData, RsaKeypair};
use ssh_key::public::KeyData;
use ssh_key::rand_core::{CryptoRng, Error as RandomError, RngCore};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use tokio::sync::Semaphore;

use crate::service::Iam;

/// Key pairs that a user can have in a project.
pub const MOST_KEY_PAIRS: u32 = 50;
/// The longest name, in characters.
const MOST_NAME: usize = 255;
/// The longest description, in characters.
const MOST_DESCRIPTION: usize = 255;
/// The longest public key, in bytes: RSA keys of 16384 bits fit.
const MOST_PUBLIC_KEY: usize = 4096;
/// RSA keys that are shorter open no door.
const LEAST_RSA_BITS: usize = 2048;
/// RSA keys are made one at a time: each keeps a processor busy for up to seconds, and callers could ask for many.
static MAKING_RSA: Semaphore = Semaphore::const_new(1);

/// What a new pair is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// It is made here.
    Made(KeyAlgorithm),
    /// It was made elsewhere; this is its public half.
    Imported(String),
}

/// What can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyAlgorithm {
    /// Every one; the first is made when nothing is said.
    pub const ALL: [Self; 4] = [Self::Ed25519, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// Its name in requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ED25519",
            Self::Rsa2048 => "RSA_2048",
            Self::Rsa3072 => "RSA_3072",
            Self::Rsa4096 => "RSA_4096",
        }
    }
}

/// What a public key says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
}

impl KeyFacts {
    /// Of a public key that was kept; what cannot be read has no facts.
    pub fn of(public_key: &str) -> Self {
        match PublicKey::from_openssh(public_key) {
            Ok(key) => Self {
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                algorithm: key.algorithm().to_string(),
            },
            Err(_) => Self { fingerprint: String::new(), algorithm: String::new() },
        }
    }
}

impl Iam {
    /// Makes or imports a pair for the caller. The private half comes with the answer where it was made here.
    pub async fn create_key_pair(
        &self,
        caller: &Caller,
        name: &str,
        source: KeySource,
    ) -> Result<(KeyPair, Option<SecretString>), Refusal> {
        check_name(name)?;
        let (public_key, private_key) = match source {
            KeySource::Imported(text) => (checked(text)?, None),
            KeySource::Made(algorithm) => {
                let (public, private) = self.make(algorithm, name).await?;
                (public, Some(private))
            }
        };
        let created_at = self.inner.clock.now();
        let new = NewKeyPair { owner: owner(caller), name: name.to_owned(), public_key, created_at };
        match self.inner.store.add_key_pair(new, MOST_KEY_PAIRS).await.map_err(|e| hidden(&e))? {
            KeyPairWritten::Written(pair) => Ok((*pair, private_key)),
            KeyPairWritten::NameTaken => {
                Err(Refusal::new(Code::NameTaken, format!("you have a key pair `{name}` already; take another name")))
            }
            KeyPairWritten::QuotaExhausted => {
                let message = format!("a user can have {MOST_KEY_PAIRS} key pairs; remove one first");
                Err(Refusal::new(Code::QuotaExceeded, message))
            }
            KeyPairWritten::NobodyThere => {
                tracing::error!("a caller's user or project is not in the store");
                Err(Refusal::internal())
            }
        }
    }

    /// Making an RSA key takes up to seconds: not on a thread that others wait for.
    async fn make(&self, algorithm: KeyAlgorithm, comment: &str) -> Result<(String, SecretString), Refusal> {
        let (entropy, comment) = (self.inner.entropy.clone(), comment.to_owned());
        let turn = match algorithm {
            KeyAlgorithm::Ed25519 => None,
            _ => MAKING_RSA.acquire().await.ok(),
        };
        // The turn goes along: whoever stops waiting does not stop the making.
        let work = move || {
            let _turn = turn;
            generate(algorithm, &comment, &*entropy)
        };
        let made = tokio::task::spawn_blocking(work).await;
        match made {
            Ok(Ok(pair)) => Ok(pair),
            Ok(Err(error)) => {
                tracing::error!("a key pair could not be made: {error}");
                Err(Refusal::internal())
            }
            Err(error) => {
                tracing::error!("the making of a key pair ended abnormally: {error}");
                Err(Refusal::internal())
            }
        }
    }

    /// The caller's pairs, by name.
    pub async fn key_pairs(&self, caller: &Caller) -> Result<Vec<KeyPair>, Refusal> {
        self.inner.store.key_pairs(&owner(caller)).await.map_err(|e| hidden(&e))
    }

    /// The caller's pair with this name.
    pub async fn key_pair(&self, caller: &Caller, name: &str) -> Result<KeyPair, Refusal> {
        let found = self.inner.store.key_pair(&owner(caller), name).await.map_err(|e| hidden(&e))?;
        found.ok_or_else(|| missing(name))
    }

    /// Describes the caller's pair anew.
    pub async fn describe_key_pair(&self, caller: &Caller, name: &str, description: &str) -> Result<(), Refusal> {
        if description.chars().count() > MOST_DESCRIPTION || description.chars().any(char::is_control) {
            let wanted = format!("at most {MOST_DESCRIPTION} characters, no control characters");
            return Err(Refusal::bad_value("keypair.description", &wanted));
        }
        let now = self.inner.clock.now();
        let found = self.inner.store.describe_key_pair(&owner(caller), name, description, now).await;
        if found.map_err(|e| hidden(&e))? { Ok(()) } else { Err(missing(name)) }
    }

    /// Removes the caller's pair.
    pub async fn remove_key_pair(&self, caller: &Caller, name: &str) -> Result<(), Refusal> {
        let found = self.inner.store.remove_key_pair(&owner(caller), name).await.map_err(|e| hidden(&e))?;
        if found { Ok(()) } else { Err(missing(name)) }
    }
}

fn owner(caller: &Caller) -> KeyPairOwner {
    KeyPairOwner { project_id: caller.project_id.clone(), user_id: caller.user_id.clone() }
}

fn missing(name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    Refusal::new(Code::NotFound, format!("key pair `{shown}` does not exist"))
}

/// A failure of the store is for the log; of a lack of room callers are told, because it passes.
fn hidden(error: &StoreError) -> Refusal {
    tracing::error!("{error}");
    match error {
        StoreError::Full(_) | StoreError::Disk(_) => {
            Refusal::new(Code::Unavailable, "the data disk of the server is full or fails: nothing was changed")
        }
        StoreError::Engine(_) | StoreError::Unreadable(_) => Refusal::internal(),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.chars().count() > MOST_NAME {
        return Err(Refusal::bad_value("keypair.name", &format!("1 to {MOST_NAME} characters long")));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        None => Ok(()),
        Some(c) => {
            let message = format!("`keypair.name` may hold letters, digits, `-` and `_`, not {c:?}");
            Err(Refusal::new(Code::ForbiddenCharacter, message))
        }
    }
}

/// The text of a public key, when it is one that opens a door.
fn checked(text: String) -> Result<String, Refusal> {
    const FIELD: &str = "keypair.public_key";
    let line = text.trim_end_matches(['\r', '\n']);
    let wanted = "a line such as `ssh-ed25519 AAAA… comment`";
    if text.len() > MOST_PUBLIC_KEY || line.chars().any(char::is_control) {
        return Err(Refusal::bad_value(FIELD, &format!("{wanted}, of at most {MOST_PUBLIC_KEY} bytes")));
    }
    let key = PublicKey::from_openssh(line).map_err(|_| Refusal::bad_value(FIELD, wanted))?;
    match (key.algorithm(), key.key_data()) {
        (Algorithm::Ed25519 | Algorithm::Ecdsa { .. }, _) => Ok(text),
        (_, KeyData::Rsa(rsa)) if rsa_bits(rsa) >= LEAST_RSA_BITS => Ok(text),
        (algorithm, _) => {
            let wanted = format!("Ed25519, ECDSA, or RSA of at least {LEAST_RSA_BITS} bits, not {algorithm}");
            Err(Refusal::bad_value(FIELD, &wanted))
        }
    }
}

/// The length of an RSA modulus.
fn rsa_bits(key: &ssh_key::public::RsaPublicKey) -> usize {
    let bytes = key.n.as_positive_bytes().unwrap_or_default();
    let leading = bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    bytes.len() * 8 - leading
}

/// Both halves, in OpenSSH's own forms.
fn generate(
    algorithm: KeyAlgorithm,
    comment: &str,
    entropy: &dyn Entropy,
) -> Result<(String, SecretString), ssh_key::Error> {
    let mut random = Randomness(entropy);
    let data = match algorithm {
        KeyAlgorithm::Ed25519 => KeypairData::Ed25519(Ed25519Keypair::random(&mut random)),
        KeyAlgorithm::Rsa2048 => KeypairData::Rsa(RsaKeypair::random(&mut random, 2048)?),
        KeyAlgorithm::Rsa3072 => KeypairData::Rsa(RsaKeypair::random(&mut random, 3072)?),
        KeyAlgorithm::Rsa4096 => KeypairData::Rsa(RsaKeypair::random(&mut random, 4096)?),
    };
    let key = PrivateKey::new(data, comment)?;
    let text = key.to_openssh(LineEnding::LF)?;
    Ok((key.public_key().to_openssh()?, SecretString::from(text.as_str())))
}

/// The injected randomness, as the key library asks for it.
struct Randomness<'a>(&'a dyn Entropy);

impl RngCore for Randomness<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        self.0.fill(out);
        Ok(())
    }
}

impl CryptoRng for Randomness<'_> {}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::testing::Dice;

    /// Of `ssh-keygen -t …`, with its own fingerprint.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDC0RXO/Rnzc93ztd66oVJH3M0w84rxhm4IMgWQaoveU me@laptop";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDY8EijFy95vgLkOAjEAqzhM40WxkxAt4JIogEmXlbnczydZ5kxkaUbWEhF5cAZnafGabOXYIovwnfVDsb+w8Ys54IxbuwjwCPkqR9S0hS3D9Fr5UxSZr6f3T+BWjJoCBkWHF5vQW+lbnLYmOVp5GxRAoOrktZHIR7AJ5G0dhp8mL2AGB5vFTR0DdXDphjmp8t1AeLTJS1AjonWFpa0hU1aUzLcPDFfvRjRCdKbcDkPouvsR1yjcVxaaedUQHbTum0W+8X/f/OCEzYCZvSkRV+4/hGf1yukxZfFRWPAXrLvOOLzvXiclTaeYDJhg9eyWSKnZ6EDruALAUGr7v6RAbfl rsa";
    const SHORT_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCt9pyDFUXNYzIsozfKMbGMdBkjNjepsY1RAkovbCGZakv1HnOETJdA+ZDFSD0xQj4hrcloHcFT5O36RFdYE9mFySafhwGtibZna1p21Q12h41NaJchew1gz6tnQ936Q/RKHTSdu38P6KsmIQQk+gMRwSdvrGbBe2JDYbp//j4Opw== short";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBK2fZx8lVwTOeOBoOQ4tSYrerj39TafrXHVCZ/NjQsHye0tBr8lw5FE+yOAtj45VzZzDu+WaBQO1OMA4tE4pMi0= ec";
    const SK: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo=";

    #[test]
    fn facts_are_those_that_ssh_keygen_prints() {
        let facts = |text: &str| (KeyFacts::of(text).algorithm, KeyFacts::of(text).fingerprint);
        assert_eq!(facts(ED25519), ("ssh-ed25519".into(), "SHA256:5D48OyhSS5+hsSfYM2yCTPU69vUHRPMKfQuMGj5SRbg".into()));
        assert_eq!(facts(RSA), ("ssh-rsa".into(), "SHA256:9XdDlEm1Cb0CAh/Jl4Lmud/iAPBQ2Fu19qrMBMCamMA".into()));
        assert_eq!(
            facts(ECDSA),
            ("ecdsa-sha2-nistp256".into(), "SHA256:/bKZGa9UDjfpdVZdyF4lustXvz2FZA2tG+C/XnyAXa0".into())
        );
        assert_eq!(facts("nonsense"), (String::new(), String::new()));
    }

    #[test]
    fn public_keys_are_kept_to_the_letter() {
        for text in [ED25519.to_owned(), format!("{RSA}\n"), ECDSA.to_owned(), format!("{ED25519} and more\r\n")] {
            assert_eq!(checked(text.clone()), Ok(text));
        }
    }

    #[test]
    fn what_opens_no_door_is_refused() {
        let long = format!("{ED25519} {}", "x".repeat(MOST_PUBLIC_KEY));
        let two = format!("{ED25519}\n{ED25519}");
        let options = format!("command=\"sh\" {ED25519}");
        let cut = &ED25519[..60];
        for bad in ["", "ssh-ed25519", "x", &long, &two, &options, cut, SHORT_RSA, SK] {
            let refusal = checked(bad.to_owned()).unwrap_err();
            assert_eq!(refusal.code(), Code::BadValue, "{bad}");
            assert!(refusal.message().contains("`keypair.public_key`"), "{}", refusal.message());
        }
    }

    #[test]
    fn both_halves_fit() {
        let (public, private) = generate(KeyAlgorithm::Ed25519, "a-name", &Dice::new(5)).unwrap();
        assert!(public.starts_with("ssh-ed25519 AAAA") && public.ends_with(" a-name"), "{public}");
        let read = PrivateKey::from_openssh(private.expose_secret()).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), public);
        assert_eq!(checked(public.clone()), Ok(public));
    }

    #[test]
    fn names_are_letters_digits_and_two_signs() {
        for good in ["a", "A-1_b", &"x".repeat(255)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", &"x".repeat(256)] {
            assert_eq!(check_name(bad).unwrap_err().code(), Code::BadValue, "{bad}");
        }
        for bad in ["a b", "a.b", "ä", "../a"] {
            assert_eq!(check_name(bad).unwrap_err().code(), Code::ForbiddenCharacter, "{bad}");
        }
    }
}
