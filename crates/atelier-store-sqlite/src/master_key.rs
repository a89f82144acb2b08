//! The master key: 32 bytes that every sealed secret hangs on.
//!
//! It is 64 hexadecimal digits, from the environment (`ATELIER_MASTER_KEY`, for keys that a secret store hands out) or
//! from `master.key` in the data folder, which is made at the first start and readable by its owner only. The file is
//! linked into place when it is whole and on disk: after a crash there is either no key or the key, and a key that is
//! already there is never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atelier_core::Entropy;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::Sealer;

const FILE: &str = "master.key";
const KEY_BYTES: usize = 32;

type Key = Zeroizing<[u8; KEY_BYTES]>;

/// There is no usable master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The environment holds something else.
    #[error("`ATELIER_MASTER_KEY` must be 64 hexadecimal digits")]
    BadVariable,
    /// The file holds something else.
    #[error("`{}` must hold 64 hexadecimal digits", .0.display())]
    BadFile(PathBuf),
    /// Others than its owner can get at the file.
    #[error("`{}` has mode {:o}; it must be accessible by its owner only (chmod 600)", .0.display(), .1)]
    TooOpen(PathBuf, u32),
    /// The file cannot be read or made.
    #[error("`{}` cannot be read or made: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
}

impl Sealer {
    /// A sealer with the master key of `from_environment` (the value of `ATELIER_MASTER_KEY`), else with that of
    /// `<data_dir>/master.key`, which is made when it is not there. The folder must exist.
    pub fn load_or_create(
        data_dir: &Path,
        from_environment: Option<&SecretString>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, MasterKeyError> {
        let key = match from_environment {
            Some(text) => decode(text.expose_secret()).ok_or(MasterKeyError::BadVariable)?,
            None => load_or_create(data_dir, &*entropy)?,
        };
        Ok(Self::new(&key, entropy))
    }
}

fn load_or_create(data_dir: &Path, entropy: &dyn Entropy) -> Result<Key, MasterKeyError> {
    let path = data_dir.join(FILE);
    match load(&path) {
        Err(MasterKeyError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            create(data_dir, &path, entropy).map_err(|error| MasterKeyError::Io(path.clone(), error))?;
            load(&path)
        }
        found => found,
    }
}

fn load(path: &Path) -> Result<Key, MasterKeyError> {
    let io = |error| MasterKeyError::Io(path.into(), error);
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::TooOpen(path.into(), mode));
    }
    decode(&text).ok_or_else(|| MasterKeyError::BadFile(path.into()))
}

/// Makes a key file. Another process may have been faster; then its key stands.
fn create(data_dir: &Path, path: &Path, entropy: &dyn Entropy) -> io::Result<()> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    entropy.fill(&mut *key);
    let mut suffix = [0; 8];
    entropy.fill(&mut suffix);
    let draft = data_dir.join(format!(".{FILE}.{:016x}", u64::from_be_bytes(suffix)));
    let placed = write_draft(&draft, &encode(&key)).and_then(|()| place(&draft, path));
    let removed = fs::remove_file(&draft);
    placed.and(removed).and_then(|()| File::open(data_dir)?.sync_all())
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A link, not a renaming: it does not overwrite.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

fn encode(key: &Key) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
    for byte in key.iter() {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text.push('\n');
    text
}

fn decode(text: &str) -> Option<Key> {
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(key)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills with the bytes 1, 2, 3 and so on, anew at each call.
    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) {
            for (byte, value) in out.iter_mut().zip(1..) {
                *byte = value;
            }
        }
    }

    fn open(folder: &Path, variable: Option<&str>) -> Result<Sealer, MasterKeyError> {
        Sealer::load_or_create(folder, variable.map(SecretString::from).as_ref(), Arc::new(Counting))
    }

    fn same(one: &Sealer, other: &Sealer) -> bool {
        let sealed = one.seal("t.c", "row", &SecretString::from("secret")).unwrap();
        other.unseal("t.c", "row", &sealed).is_ok()
    }

    #[test]
    fn the_first_start_makes_a_private_file_and_the_second_reads_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let first = open(folder.path(), None).unwrap();
        let path = folder.path().join("master.key");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        assert!(same(&first, &open(folder.path(), None).unwrap()));
    }

    #[test]
    fn the_variable_goes_before_the_file_and_makes_none() {
        let folder = tempfile::TempDir::new().unwrap();
        let from_variable = open(folder.path(), Some(&"Ab".repeat(32))).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let from_file = open(folder.path(), None).unwrap();
        assert!(!same(&from_variable, &from_file));
        assert!(same(&from_variable, &open(folder.path(), Some(&"aB".repeat(32))).unwrap()));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("master.key");
        for bad in ["", "short", &"g".repeat(64), &"+1".repeat(32), &"0".repeat(63), &"0".repeat(66), &"é".repeat(32)]
        {
            let error = open(folder.path(), Some(bad)).unwrap_err();
            assert_eq!(error.to_string(), "`ATELIER_MASTER_KEY` must be 64 hexadecimal digits", "{bad}");
            fs::write(&path, bad).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = open(folder.path(), None).unwrap_err();
            assert!(error.to_string().ends_with("master.key` must hold 64 hexadecimal digits"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad, "what is there is not overwritten");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        open(folder.path(), None).unwrap();
        let path = folder.path().join("master.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = open(folder.path(), None).unwrap_err();
        assert!(error.to_string().contains("has mode 640; it must be accessible by its owner only"), "{error}");
    }

    #[test]
    fn a_faster_process_wins() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, "theirs").unwrap();
        create(folder.path(), &path, &Counting).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
