//! People: domains, users, projects, and what proves who somebody is.
//!
//! Two kinds of things are kept, because they are asked for in two ways:
//!
//! * The **directory** (domains, users, projects, grants, access keys) is small, changes seldom and is needed by every
//!   request. It is read as a whole ([`PeopleStore::directory`]) and changed by whole changes ([`PeopleChange`]) that
//!   are written together or not at all.
//! * **Tokens** are many and short-lived. They are read one at a time, by the hash of their text. The text itself is
//!   never kept: who reads the files of a store cannot act as anybody.
//!
//! Passwords arrive here as hashes. Secrets of access keys have to be readable back, because a signature is computed
//! with them; an engine seals them at its wall.

use async_trait::async_trait;
use atelier_core::audit::AuditRecord;
use atelier_core::clock::Timestamp;
use atelier_core::id::{DomainId, ProjectId, UserId};
use secrecy::SecretString;

use crate::StoreError;
use crate::key_pairs::KeyPairStore;

/// A domain: the account that users and projects belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its id.
    pub id: DomainId,
    /// Its name; no other domain has it.
    pub name: String,
    /// What people say about it.
    pub description: String,
}

/// A user of a domain.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The domain it belongs to.
    pub domain_id: DomainId,
    /// Its name; no other user of the domain has it.
    pub name: String,
    /// The hash of its password, in the PHC string format. No password opens the door when there is none.
    pub password_hash: Option<SecretString>,
    /// A user that is switched off cannot prove anything.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A project: what notebooks belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The domain it belongs to.
    pub domain_id: DomainId,
    /// Its name; no other project of the domain has it.
    pub name: String,
    /// What people say about it.
    pub description: String,
}

/// What a user may do, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub user_id: UserId,
    /// Where.
    pub target: GrantTarget,
    /// What.
    pub role: Role,
}

/// Where a role holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GrantTarget {
    /// In one project.
    Project(ProjectId),
    /// In the domain itself, not in its projects.
    Domain(DomainId),
}

/// A named set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// The own notebooks.
    Member,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Self] = &[Self::Admin, Self::Member];

    /// The name under which it is kept and shown; never renamed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    /// The role with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == name)
    }
}

/// A key to sign requests with.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its public half; no other key has it.
    pub access: String,
    /// Its secret half.
    pub secret: SecretString,
    /// Whose it is.
    pub user_id: UserId,
    /// A key that is switched off signs nothing.
    pub active: bool,
    /// What people say about it.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What a temporary key needs besides its secret; a permanent key has none.
    pub session: Option<KeySession>,
}

/// The second half of a temporary access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySession {
    /// SHA-256 of the security token that must come along.
    pub token_hash: TokenHash,
    /// The moment from which the key is worth nothing.
    pub expires_at: Timestamp,
    /// What it was earned with.
    pub parent: KeyParent,
}

/// What a temporary access key was earned with. When that is removed, the key goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyParent {
    /// A token.
    Token(TokenHash),
    /// A permanent access key, by its public half.
    Key(String),
}

/// SHA-256 of a token's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// A token that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// By what it is found.
    pub hash: TokenHash,
    /// Whose it is.
    pub user_id: UserId,
    /// Where it counts.
    pub scope: GrantTarget,
    /// How its owner proved who they are.
    pub methods: Vec<Method>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The moment from which it is worth nothing.
    pub expires_at: Timestamp,
}

/// A way of proving who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// By a password.
    Password,
    /// By an earlier token.
    Token,
}

impl Method {
    /// Every method.
    pub const ALL: &'static [Self] = &[Self::Password, Self::Token];

    /// The name under which it is kept and shown; never renamed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
        }
    }

    /// The method with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.as_str() == name)
    }
}

/// Everything about people but their tokens, from one moment. Each list is sorted by id (grants by user, target and
/// role; access keys by their public half).
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Every domain.
    pub domains: Vec<Domain>,
    /// Every user.
    pub users: Vec<User>,
    /// Every project.
    pub projects: Vec<Project>,
    /// Every grant.
    pub grants: Vec<Grant>,
    /// Every access key.
    pub access_keys: Vec<AccessKey>,
}

/// One change of the directory. `Put` inserts, or overwrites what has the same id.
#[derive(Clone, Debug)]
pub enum PeopleChange {
    /// Writes a domain.
    PutDomain(Domain),
    /// Writes a user.
    PutUser(User),
    /// Writes a project.
    PutProject(Project),
    /// Gives a role; giving it again changes nothing.
    Give(Grant),
    /// Takes a role away; taking it again changes nothing.
    Take(Grant),
    /// Writes an access key.
    PutAccessKey(AccessKey),
    /// Removes an access key and the temporary ones that were earned with it; removing it again changes nothing.
    RemoveAccessKey(String),
    /// Removes every token of a user, and the temporary access keys that were earned with them.
    RemoveTokensOf(UserId),
    /// Removes a token, and the temporary access keys that were earned with it; removing it again changes nothing.
    RemoveToken(TokenHash),
    /// Appends a record to the audit: what the other changes are recorded as is kept with them or not at all.
    Record(Box<AuditRecord>),
}

/// What became of a change of the directory. Only `Written` changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeopleWritten {
    /// Written, and on disk.
    Written,
    /// The directory was to be empty and is not.
    NotEmpty,
    /// A name is taken, or something refers to what does not exist.
    Conflict,
}

/// What is kept about people.
#[async_trait]
pub trait PeopleStore: KeyPairStore {
    /// Everything but the tokens, from one moment.
    async fn directory(&self) -> Result<Directory, StoreError>;

    /// Writes the changes, in this order, together or not at all; durable when it answers. With `only_when_empty`
    /// nothing is written where a domain already exists.
    async fn change_people(
        &self,
        changes: Vec<PeopleChange>,
        only_when_empty: bool,
    ) -> Result<PeopleWritten, StoreError>;

    /// Keeps a token; durable when it answers. A token of a user that does not exist is a [`StoreError::Engine`].
    async fn put_token(&self, token: &Token) -> Result<(), StoreError>;

    /// The token with this hash, also when it has expired.
    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError>;

    /// Removes a token, and the temporary access keys that were earned with it; says whether there was one.
    async fn remove_token(&self, hash: TokenHash) -> Result<bool, StoreError>;

    /// Removes every token of a user, with the temporary access keys that were earned with them, and returns how many
    /// tokens there were.
    async fn remove_tokens_of(&self, user_id: &UserId) -> Result<u64, StoreError>;

    /// Removes the tokens that expired at or before `moment`, with the temporary access keys that were earned with them,
    /// and returns how many tokens there were.
    async fn remove_tokens_expired_by(&self, moment: Timestamp) -> Result<u64, StoreError>;
}
