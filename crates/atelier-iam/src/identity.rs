//! Who somebody is, once they have proved it.

use atelier_core::Caller;
use atelier_core::caller::{Credential, Source};
use atelier_core::clock::Timestamp;
use atelier_core::id::{DomainId, ProjectId, UserId};
use atelier_store::people::{Method, Role, TokenHash};

/// Who sends a request, where it counts and how that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// The account the user belongs to.
    pub domain_id: DomainId,
    /// The account's name.
    pub domain_name: String,
    /// Where the credential counts.
    pub scope: Scope,
    /// What the user may do there.
    pub roles: Vec<Role>,
    /// How it was proved.
    pub proof: Proof,
}

/// Where a credential counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In one project.
    Project {
        /// The project's id.
        id: ProjectId,
        /// The project's name.
        name: String,
    },
    /// In the user's domain. A token like this opens no project; a signature like this (one that names no project)
    /// opens every project of its user.
    Domain,
}

/// How somebody proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a token.
    Token {
        /// The token's name in the store.
        hash: TokenHash,
        /// How the token itself was earned.
        methods: Vec<Method>,
        /// When it was issued.
        issued_at: Timestamp,
        /// The moment from which it is worth nothing.
        expires_at: Timestamp,
    },
    /// By a signature.
    AccessKey {
        /// The public half of the key.
        access: String,
    },
}

impl Identity {
    /// The project that the credential is scoped to.
    pub const fn project_id(&self) -> Option<&ProjectId> {
        match &self.scope {
            Scope::Project { id, .. } => Some(id),
            Scope::Domain => None,
        }
    }

    /// The moment from which the proof is worth nothing; a signature proves only its own request.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        match self.proof {
            Proof::Token { expires_at, .. } => Some(expires_at),
            Proof::AccessKey { .. } => None,
        }
    }

    /// Whether the user holds this role in the scope.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What was shown, as the audit says it.
    pub fn credential(&self) -> Credential {
        match &self.proof {
            Proof::Token { .. } => Credential::Token,
            Proof::AccessKey { access } => Credential::AccessKey(access.clone()),
        }
    }

    pub(crate) fn caller_in(&self, project_id: ProjectId) -> Caller {
        Caller {
            user_id: self.user_id.clone(),
            user_name: self.user_name.clone(),
            domain_id: self.domain_id.clone(),
            domain_name: self.domain_name.clone(),
            project_id,
            source: Source { credential: self.credential(), address: None },
        }
    }
}
