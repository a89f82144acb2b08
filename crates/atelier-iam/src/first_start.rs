//! The first start on an empty store: an account, its administrator, a project and an access key.
//!
//! The secrets are shown once, in a file that the binary writes. Whoever loses them is locked out, so a crash must not
//! fall between the store and the file. Hence the order: the values are made up, the file is written *durably*, and only
//! then does the store take them. A crash before the file leaves nothing; a crash after it leaves a file that opens
//! nothing and an empty store, and the next start makes up new values and writes the file anew. At no moment does the
//! store hold an administrator whose password is not in the file.

use atelier_core::Entropy;
use atelier_core::clock::Timestamp;
use atelier_core::id::{DomainId, ProjectId, UserId};
use atelier_store::StoreError;
use atelier_store::people::{AccessKey, Domain, Grant, GrantTarget, PeopleChange, Project, Role, User};
use secrecy::SecretString;

use crate::password::HashFailed;
use crate::text;

/// What the first start made. Everything that the administrator needs.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// The region; the project bears its name.
    pub region: String,
    /// The account's id.
    pub domain_id: DomainId,
    /// The account's name.
    pub domain_name: String,
    /// The administrator's id.
    pub user_id: UserId,
    /// The administrator's name.
    pub user_name: String,
    /// The administrator's password.
    pub password: SecretString,
    /// The project's id.
    pub project_id: ProjectId,
    /// The project's name.
    pub project_name: String,
    /// The public half of the access key.
    pub access_key: String,
    /// The secret half of the access key.
    pub secret_key: SecretString,
}

/// The first start did not succeed. The store is still empty.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashFailed),
    /// The secrets could not be written down.
    #[error("the administrator's credentials could not be written down: {0}")]
    Record(#[source] std::io::Error),
}

impl FirstStart {
    pub(crate) fn make_up(region: &str, entropy: &dyn Entropy) -> Self {
        Self {
            region: region.to_owned(),
            domain_id: DomainId::generate(entropy),
            domain_name: "atelier".to_owned(),
            user_id: UserId::generate(entropy),
            user_name: "admin".to_owned(),
            password: text::password(entropy),
            project_id: ProjectId::generate(entropy),
            project_name: region.to_owned(),
            access_key: text::access_key(entropy),
            secret_key: text::secret_key(entropy),
        }
    }

    pub(crate) fn changes(&self, password_hash: SecretString, now: Timestamp) -> Vec<PeopleChange> {
        vec![
            PeopleChange::PutDomain(Domain {
                id: self.domain_id.clone(),
                name: self.domain_name.clone(),
                description: String::new(),
            }),
            PeopleChange::PutUser(self.user(password_hash, now)),
            PeopleChange::PutProject(Project {
                id: self.project_id.clone(),
                domain_id: self.domain_id.clone(),
                name: self.project_name.clone(),
                description: String::new(),
            }),
            self.give(GrantTarget::Domain(self.domain_id.clone())),
            self.give(GrantTarget::Project(self.project_id.clone())),
            PeopleChange::PutAccessKey(self.key(now)),
        ]
    }

    fn user(&self, password_hash: SecretString, now: Timestamp) -> User {
        User {
            id: self.user_id.clone(),
            domain_id: self.domain_id.clone(),
            name: self.user_name.clone(),
            password_hash: Some(password_hash),
            enabled: true,
            created_at: now,
        }
    }

    fn give(&self, target: GrantTarget) -> PeopleChange {
        PeopleChange::Give(Grant { user_id: self.user_id.clone(), target, role: Role::Admin })
    }

    fn key(&self, now: Timestamp) -> AccessKey {
        AccessKey {
            access: self.access_key.clone(),
            secret: self.secret_key.clone(),
            user_id: self.user_id.clone(),
            active: true,
            description: String::new(),
            created_at: now,
            session: None,
        }
    }
}
