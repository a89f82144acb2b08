//! Key pairs: what opens a notebook by SSH.
//!
//! Only public halves are kept. A private half that was made here is shown once and forgotten, so who reads the files of
//! a store can open nothing.
//!
//! A pair belongs to one user in one project and has a name there. The text of a public key is kept to the letter:
//! clients compare what they sent with what they read.

use async_trait::async_trait;
use atelier_core::clock::Timestamp;
use atelier_core::id::{ProjectId, UserId};

use crate::StoreError;

/// Whose a key pair is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairOwner {
    /// In this project.
    pub project_id: ProjectId,
    /// This user.
    pub user_id: UserId,
}

/// A key pair that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyPair {
    /// Whose it is.
    pub owner: KeyPairOwner,
    /// Its name; no other pair of its owner has it.
    pub name: String,
    /// Its public half, as it was sent or made: a line of an `authorized_keys` file.
    pub public_key: String,
    /// When it was made or imported.
    pub created_at: Timestamp,
}

/// A key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// A number that no other pair has.
    pub id: i64,
    /// Whose it is.
    pub owner: KeyPairOwner,
    /// Its name.
    pub name: String,
    /// Its public half.
    pub public_key: String,
    /// What people say about it.
    pub description: String,
    /// When it was made or imported.
    pub created_at: Timestamp,
    /// When it was last described anew.
    pub updated_at: Timestamp,
}

/// What became of a new key pair. Only `Written` changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPairWritten {
    /// Written, and on disk.
    Written(Box<KeyPair>),
    /// Its owner has another pair of this name.
    NameTaken,
    /// Its owner has as many as they may have.
    QuotaExhausted,
    /// There is no such user or project.
    NobodyThere,
}

/// What is kept of key pairs. Everything that writes is durable when it answers.
#[async_trait]
pub trait KeyPairStore: Send + Sync {
    /// Keeps a new pair, unless its owner has `most` of them already.
    async fn add_key_pair(&self, pair: NewKeyPair, most: u32) -> Result<KeyPairWritten, StoreError>;

    /// The pairs of an owner, by name.
    async fn key_pairs(&self, owner: &KeyPairOwner) -> Result<Vec<KeyPair>, StoreError>;

    /// The pair of an owner with this name.
    async fn key_pair(&self, owner: &KeyPairOwner, name: &str) -> Result<Option<KeyPair>, StoreError>;

    /// Describes a pair anew; says whether there was one.
    async fn describe_key_pair(
        &self,
        owner: &KeyPairOwner,
        name: &str,
        description: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Removes a pair; says whether there was one.
    async fn remove_key_pair(&self, owner: &KeyPairOwner, name: &str) -> Result<bool, StoreError>;
}
