//! Passwords: argon2id, away from the threads that serve requests, and only a few at a time.
//!
//! One hash costs tens of milliseconds and tens of megabytes on purpose. Without a bound, a crowd at the login page
//! would take all the memory; so those who come while all places are taken wait their turn. The queue is bounded, too:
//! whoever would wait for longer than a client does is told so at once.
//!
//! A user that does not exist costs as much as a wrong password: the password is then compared to a hash that no
//! password has.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use atelier_core::Entropy;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may wait for a place: a second or two at the usual cost.
const MOST_WAITING: usize = 64;

/// What one hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Hashes that are computed at once, at most.
    pub at_once: usize,
}

/// OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, at_once: 2 }
    }
}

/// The cost is not one that argon2 accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cost of password hashes is out of range: {0}")]
pub struct BadCost(String);

/// A hash could not be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashFailed {
    /// No memory, or the server is going down.
    #[error("a password could not be hashed")]
    Broken,
    /// Too many wait already.
    #[error("too many passwords wait for being hashed")]
    TooManyWait,
}

/// Makes and checks hashes of passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    params: Params,
    places: Arc<Semaphore>,
    waiting: Semaphore,
    nobodys: SecretString,
}

impl Passwords {
    pub(crate) fn new(cost: PasswordCost) -> Result<Self, BadCost> {
        let params =
            Params::new(cost.memory_kib, cost.passes, 1, Some(32)).map_err(|cause| BadCost(cause.to_string()))?;
        // The digest is not the hash of anything: finding its password means inverting argon2.
        let nobodys = format!(
            "$argon2id$v=19$m={},t={},p=1$bm9ib2R5cy1zYWx0LQ$bm9ib2R5LWhhcy10aGlzLWhhc2gtMDAwMDAwMDAwMDA",
            cost.memory_kib, cost.passes
        );
        Ok(Self {
            params,
            places: Arc::new(Semaphore::new(cost.at_once.max(1))),
            waiting: Semaphore::new(MOST_WAITING),
            nobodys: nobodys.into(),
        })
    }

    /// Waits for a place.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, HashFailed> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Turn { passwords: self, place });
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| HashFailed::TooManyWait)?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| HashFailed::Broken)?;
        Ok(Turn { passwords: self, place })
    }

    /// The hash of a new password, in the PHC string format.
    pub(crate) async fn hash(&self, password: SecretString, entropy: &dyn Entropy) -> Result<SecretString, HashFailed> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let turn = self.turn().await?;
        turn.take(move || {
            let hash = argon2.hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
            hash.map(|hash| hash.to_string().into()).map_err(|_| HashFailed::Broken)
        })
        .await?
        .0
    }
}

/// A place among those that hash now.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    passwords: &'a Passwords,
    place: OwnedSemaphorePermit,
}

impl Turn<'_> {
    /// Whether `password` has the hash `kept`; never when there is none, in the same time. The place comes back with
    /// the answer: whoever is next should find written down what came out.
    pub(crate) async fn matches(
        self,
        password: SecretString,
        kept: Option<&SecretString>,
    ) -> Result<(bool, OwnedSemaphorePermit), HashFailed> {
        let kept = kept.unwrap_or(&self.passwords.nobodys).clone();
        self.take(move || verify(&password, &kept)).await
    }

    async fn take<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), HashFailed> {
        let place = self.place;
        // The place goes along: a request that is given up does not free the memory that its hash still holds.
        let task = tokio::task::spawn_blocking(move || (work(), place));
        task.await.map_err(|_| HashFailed::Broken)
    }
}

/// The parameters come from the kept hash, so that older hashes stay good when the cost is raised.
fn verify(password: &SecretString, kept: &SecretString) -> bool {
    match PasswordHash::new(kept.expose_secret()) {
        Ok(kept) => Argon2::default().verify_password(password.expose_secret().as_bytes(), &kept).is_ok(),
        Err(cause) => {
            tracing::error!(%cause, "a kept password hash is unreadable");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Dice;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, passes: 1, at_once: 1 };

    async fn matches(passwords: &Passwords, password: &str, kept: Option<&SecretString>) -> bool {
        passwords.turn().await.unwrap().matches(password.into(), kept).await.unwrap().0
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_no_other() {
        let passwords = Passwords::new(CHEAP).unwrap();
        let hash = passwords.hash("correct horse".into(), &Dice::new(1)).await.unwrap();
        assert!(hash.expose_secret().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert!(matches(&passwords, "correct horse", Some(&hash)).await);
        assert!(!matches(&passwords, "correct horsf", Some(&hash)).await);
        assert!(!matches(&passwords, "", Some(&hash)).await);
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let passwords = Passwords::new(CHEAP).unwrap();
        let dice = Dice::new(1);
        let first = passwords.hash("same".into(), &dice).await.unwrap();
        let second = passwords.hash("same".into(), &dice).await.unwrap();
        assert_ne!(first.expose_secret(), second.expose_secret());
    }

    #[test]
    fn nobodys_hash_costs_what_a_real_one_costs() {
        let passwords = Passwords::new(PasswordCost::default()).unwrap();
        let nobodys = PasswordHash::new(passwords.nobodys.expose_secret()).unwrap();
        let params = Params::try_from(&nobodys).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (19_456, 2, 1));
        assert_eq!(nobodys.hash.unwrap().as_bytes().len(), 32);
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_a_damaged_hash_matches_none() {
        let passwords = Passwords::new(CHEAP).unwrap();
        assert!(!matches(&passwords, "", None).await);
        assert!(!matches(&passwords, "x", Some(&"$argon2id$broken".into())).await);
    }

    #[tokio::test]
    async fn those_who_wait_are_bounded_and_each_gets_a_turn() {
        let passwords = Arc::new(Passwords::new(CHEAP).unwrap());
        let first = passwords.turn().await.unwrap();
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(passwords.turn())).collect();
        for turn in &mut waiting {
            assert!(futures_util::poll!(turn).is_pending());
        }
        assert_eq!(passwords.turn().await.unwrap_err(), HashFailed::TooManyWait);
        drop(first);
        for turn in waiting {
            drop(turn.await.unwrap());
        }
        assert!(passwords.turn().await.is_ok(), "the queue is empty again");
    }

    #[test]
    fn an_impossible_cost_is_refused() {
        assert!(Passwords::new(PasswordCost { memory_kib: 1, passes: 1, at_once: 1 }).is_err());
    }
}
