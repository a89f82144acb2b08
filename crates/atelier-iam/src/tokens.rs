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
