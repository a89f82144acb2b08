//! Tokens in memory, so that a request with a known token costs no read of the store.
//!
//! What is here is never older than the store, because every change of a token passes through here: a token is put in
//! when it is issued or first looked up, and taken out when it is revoked. One race is left: a look-up that read the
//! store before a revocation must not put the token back after it. Hence the epoch: a look-up notes it before it reads,
//! and what it found is put in only if no token was revoked in between.
//!
//! What a token is worth also depends on the directory (is the user still enabled, are they still in the project?), so
//! each entry remembers the version of the directory that it was derived from.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use atelier_core::clock::Timestamp;
use atelier_core::id::UserId;
use atelier_store::people::{Token, TokenHash};

use crate::identity::Identity;

/// Entries held at most: about 50 MB.
const MOST: usize = 100_000;

/// A token and what it is worth.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) token: Arc<Token>,
    pub(crate) identity: Arc<Identity>,
    /// The version of the directory that the identity was derived from.
    pub(crate) version: u64,
}

/// The tokens that are known.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RwLock<Table>);

#[derive(Debug, Default)]
struct Table {
    epoch: u64,
    known: HashMap<TokenHash, Known>,
}

impl Tokens {
    /// What is known of a token, and the epoch in which that was so.
    pub(crate) fn get(&self, hash: &TokenHash) -> (Option<Known>, u64) {
        let table = self.read();
        (table.known.get(hash).cloned(), table.epoch)
    }

    /// Puts in what was found out since `epoch`, unless a token was revoked in between.
    pub(crate) fn put(&self, epoch: u64, known: Known) {
        let mut table = self.write();
        if table.epoch == epoch {
            table.make_room();
            table.known.insert(known.token.hash, known);
        }
    }

    /// Forgets the tokens that expired: the store still knows them, as expired.
    pub(crate) fn forget_expired_by(&self, moment: Timestamp) {
        self.write().known.retain(|_, known| moment < known.token.expires_at);
    }

    /// Forgets a token that was revoked. To be called after the store did.
    pub(crate) fn revoked(&self, hash: &TokenHash) {
        let mut table = self.write();
        table.epoch += 1;
        table.known.remove(hash);
    }

    /// Forgets every token of a user. To be called after the store did.
    pub(crate) fn revoked_of(&self, user_id: &UserId) {
        let mut table = self.write();
        table.epoch += 1;
        table.known.retain(|_, known| known.token.user_id != *user_id);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Any eighth goes when all places are taken: whoever still uses a token costs one read of the store.
    fn make_room(&mut self) {
        if self.known.len() >= MOST {
            let mut nth = 0_usize;
            self.known.retain(|_, _| {
                nth += 1;
                !nth.is_multiple_of(8)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use atelier_store::people::GrantTarget;

    use super::*;
    use crate::identity::{Proof, Scope};

    fn known(n: u64) -> Known {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        let hash = TokenHash(bytes);
        let (user_id, domain_id): (UserId, atelier_core::id::DomainId) =
            (format!("{:032x}", n % 2).parse().unwrap(), "d".repeat(32).parse().unwrap());
        let at = Timestamp::from_millis(0);
        let expires_at = Timestamp::from_millis(i64::try_from(n).unwrap());
        let identity = Identity {
            user_id: user_id.clone(),
            user_name: String::new(),
            domain_id: domain_id.clone(),
            domain_name: String::new(),
            scope: Scope::Domain,
            roles: Vec::new(),
            proof: Proof::Token { hash, methods: Vec::new(), issued_at: at, expires_at },
        };
        let scope = GrantTarget::Domain(domain_id);
        let token = Token { hash, user_id, scope, methods: Vec::new(), issued_at: at, expires_at };
        Known { token: Arc::new(token), identity: Arc::new(identity), version: 0 }
    }

    fn is_known(tokens: &Tokens, n: u64) -> bool {
        tokens.get(&known(n).token.hash).0.is_some()
    }

    #[test]
    fn a_look_up_that_began_before_a_revocation_puts_nothing_back() {
        let tokens = Tokens::default();
        let (_, epoch) = tokens.get(&known(1).token.hash);
        tokens.revoked(&known(1).token.hash);
        tokens.put(epoch, known(1));
        assert!(!is_known(&tokens, 1));
        let (_, epoch) = tokens.get(&known(1).token.hash);
        tokens.put(epoch, known(1));
        assert!(is_known(&tokens, 1));
    }

    #[test]
    fn the_tokens_of_one_user_go_together() {
        let tokens = Tokens::default();
        for n in 0..4 {
            tokens.put(0, known(n));
        }
        tokens.revoked_of(&known(1).token.user_id);
        assert!(is_known(&tokens, 0) && is_known(&tokens, 2));
        assert!(!is_known(&tokens, 1) && !is_known(&tokens, 3));
        tokens.put(0, known(1));
        assert!(!is_known(&tokens, 1), "a look-up from before");
    }

    #[test]
    fn expired_tokens_are_forgotten_at_their_moment() {
        let tokens = Tokens::default();
        for n in 9..12 {
            tokens.put(0, known(n));
        }
        tokens.forget_expired_by(Timestamp::from_millis(10));
        assert!(!is_known(&tokens, 9) && !is_known(&tokens, 10) && is_known(&tokens, 11));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_token_is_always_in() {
        let tokens = Tokens::default();
        for n in 0..=MOST as u64 {
            tokens.put(0, known(n));
        }
        assert!(tokens.read().known.len() <= MOST);
        assert!(tokens.read().known.len() > MOST / 2);
        assert!(is_known(&tokens, MOST as u64));
    }
}
