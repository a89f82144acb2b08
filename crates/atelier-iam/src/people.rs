//! The directory in memory, indexed by what requests ask for.
//!
//! Every request asks who its user is and what they may do; none should wait for the store to say so. The directory is
//! small, so all of it is held, and it is replaced as a whole after every change. Who holds an [`Arc`] of it sees one
//! moment.
//!
//! [`Arc`]: std::sync::Arc

use std::collections::HashMap;

use atelier_core::clock::Timestamp;
use atelier_core::id::{DomainId, ProjectId, UserId};
use atelier_store::people::{AccessKey, Directory, Domain, GrantTarget, KeyParent, Project, Role, TokenHash, User};

use crate::auth_request::NameOrId;
use crate::identity::{Identity, Proof, Scope};

/// The directory at one moment.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// Counts the moments: what was derived from another one is old.
    pub(crate) version: u64,
    domains: HashMap<DomainId, Domain>,
    users: HashMap<UserId, User>,
    projects: HashMap<ProjectId, Project>,
    roles: HashMap<(UserId, GrantTarget), Vec<Role>>,
    access_keys: HashMap<String, AccessKey>,
}

impl People {
    pub(crate) fn new(version: u64, directory: Directory) -> Self {
        let mut roles: HashMap<_, Vec<Role>> = HashMap::new();
        for grant in directory.grants {
            roles.entry((grant.user_id, grant.target)).or_default().push(grant.role);
        }
        Self {
            version,
            domains: directory.domains.into_iter().map(|domain| (domain.id.clone(), domain)).collect(),
            users: directory.users.into_iter().map(|user| (user.id.clone(), user)).collect(),
            projects: directory.projects.into_iter().map(|project| (project.id.clone(), project)).collect(),
            roles,
            access_keys: directory.access_keys.into_iter().map(|key| (key.access.clone(), key)).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    pub(crate) fn domain(&self, id: &DomainId) -> Option<&Domain> {
        self.domains.get(id)
    }

    pub(crate) fn user(&self, id: &UserId) -> Option<&User> {
        self.users.get(id)
    }

    /// The key, when it signs anything now.
    pub(crate) fn access_key(&self, access: &str, now: Timestamp) -> Option<&AccessKey> {
        let key = self.access_keys.get(access)?;
        let in_time = key.session.as_ref().is_none_or(|session| now < session.expires_at);
        let enabled = self.users.get(&key.user_id).is_some_and(|user| user.enabled);
        (key.active && in_time && enabled && self.parent_is_active(key)).then_some(key)
    }

    /// A temporary key sleeps with the permanent one that it was earned with.
    fn parent_is_active(&self, key: &AccessKey) -> bool {
        match key.session.as_ref().map(|session| &session.parent) {
            Some(KeyParent::Key(access)) => self.access_keys.get(access).is_some_and(|parent| parent.active),
            Some(KeyParent::Token(_)) | None => true,
        }
    }

    /// The key, also when it signs nothing now.
    pub(crate) fn any_key(&self, access: &str) -> Option<&AccessKey> {
        self.access_keys.get(access)
    }

    /// Every key of a user.
    pub(crate) fn keys_of(&self, user_id: &UserId) -> impl Iterator<Item = &AccessKey> {
        self.access_keys.values().filter(move |key| key.user_id == *user_id)
    }

    /// Every temporary key, also those that have expired.
    pub(crate) fn temporary_keys(&self) -> impl Iterator<Item = &AccessKey> {
        self.access_keys.values().filter(|key| key.session.is_some())
    }

    /// Every user of a domain.
    pub(crate) fn users_of(&self, domain_id: &DomainId) -> impl Iterator<Item = &User> {
        self.users.values().filter(move |user| user.domain_id == *domain_id)
    }

    /// Whether a user administers a domain, wherever their present credential counts.
    pub(crate) fn administers(&self, user_id: &UserId, domain_id: &DomainId) -> bool {
        self.roles(user_id, &GrantTarget::Domain(domain_id.clone())).contains(&Role::Admin)
    }

    /// Whether the key is the one this security token belongs to; a permanent key belongs to none.
    pub(crate) fn security_token_fits(key: &AccessKey, token: Option<TokenHash>) -> bool {
        key.session.as_ref().map(|session| session.token_hash) == token
    }

    /// The user with this name in the domain that was named; with the domain "default", the one user of this name.
    pub(crate) fn user_named(&self, name: &str, domain: &NameOrId) -> Option<&User> {
        let mut found = self.users.values().filter(|user| user.name == name && self.lies_in(user, domain));
        found.next().filter(|_| found.next().is_none())
    }

    fn lies_in(&self, user: &User, domain: &NameOrId) -> bool {
        self.domain_fits(&user.domain_id, domain)
    }

    /// Whether `domain` names this domain. "default" names every one: it means the user's own, whichever that is.
    pub(crate) fn domain_fits(&self, id: &DomainId, domain: &NameOrId) -> bool {
        match domain {
            NameOrId::Id(text) => domain.is_default() || text == id.as_str(),
            NameOrId::Name(name) => self.domains.get(id).is_some_and(|domain| domain.name == *name),
        }
    }

    pub(crate) fn roles(&self, user_id: &UserId, target: &GrantTarget) -> &[Role] {
        self.roles.get(&(user_id.clone(), target.clone())).map_or(&[], Vec::as_slice)
    }

    /// The project, when the user has a role in it.
    pub(crate) fn project_of(&self, user_id: &UserId, id: &ProjectId) -> Option<&Project> {
        let project = self.projects.get(id)?;
        (!self.roles(user_id, &GrantTarget::Project(id.clone())).is_empty()).then_some(project)
    }

    /// The projects in which the user has a role, by name.
    pub(crate) fn projects_of(&self, user_id: &UserId) -> Vec<&Project> {
        let mut projects: Vec<_> = self.projects.keys().filter_map(|id| self.project_of(user_id, id)).collect();
        projects.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        projects
    }

    /// What the user is, there; nothing when they are switched off or have no business there.
    pub(crate) fn identity(&self, user_id: &UserId, target: &GrantTarget, proof: Proof) -> Option<Identity> {
        let user = self.users.get(user_id).filter(|user| user.enabled)?;
        let domain = self.domains.get(&user.domain_id)?;
        let scope = self.scope(user, target)?;
        Some(Identity {
            user_id: user.id.clone(),
            user_name: user.name.clone(),
            domain_id: domain.id.clone(),
            domain_name: domain.name.clone(),
            scope,
            roles: self.roles(user_id, target).to_vec(),
            proof,
        })
    }

    fn scope(&self, user: &User, target: &GrantTarget) -> Option<Scope> {
        match target {
            GrantTarget::Project(id) => {
                let project = self.project_of(&user.id, id)?;
                Some(Scope::Project { id: id.clone(), name: project.name.clone() })
            }
            GrantTarget::Domain(id) => (*id == user.domain_id).then_some(Scope::Domain),
        }
    }
}
