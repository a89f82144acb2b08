//! Tokens: issued to whoever proves who they are, shown to whoever may see them, and revoked.

use std::sync::Arc;

use atelier_core::clock::Timestamp;
use atelier_core::id::UserId;
use atelier_store::StoreError;
use atelier_store::people::{GrantTarget, Method, Role, Token, User};
use secrecy::{ExposeSecret as _, SecretString};

use crate::auth_request::{AuthRequest, Evidence, NameOrId, WantedScope, WantedUser};
use crate::authenticate::worth;
use crate::identity::{Identity, Proof};
use crate::password::HashFailed;
use crate::people::People;
use crate::refusal::{AuthRefusal, IamRefusal};
use crate::service::{Iam, finish};
use crate::text;
use crate::tokens::Known;

/// A token that was just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its text, shown only here.
    pub text: SecretString,
    /// What it is worth.
    pub identity: Arc<Identity>,
}

impl Iam {
    /// Issues a token to whoever proves who they are.
    pub async fn log_in(&self, request: AuthRequest) -> Result<Issued, IamRefusal> {
        let inner = &self.inner;
        let proven = self.prove(request.evidence).await?;
        let people = inner.people()?;
        let target = wanted_target(&people, &proven.user_id, &request.scope)?;
        let text = text::token(inner.entropy.as_ref());
        let hash = text::token_hash(text.expose_secret()).ok_or_else(IamRefusal::internal)?;
        let token = Token {
            hash,
            user_id: proven.user_id,
            scope: target,
            methods: proven.methods,
            issued_at: proven.at,
            expires_at: proven.until,
        };
        // Derived before the token is kept: what is worth nothing is not issued.
        let identity = worth(&people, &token).ok_or_else(IamRefusal::wrong_credentials)?;
        let (_, epoch) = inner.tokens.get(&hash);
        inner.store.put_token(&token).await?;
        let known = Known { token: Arc::new(token), identity: Arc::new(identity), version: people.version };
        let identity = Arc::clone(&known.identity);
        inner.tokens.put(epoch, known);
        inner.tidy(proven.at).await;
        Ok(Issued { text, identity })
    }

    async fn prove(&self, evidence: Evidence) -> Result<Proven, IamRefusal> {
        let now = self.inner.clock.now();
        match evidence {
            Evidence::Password { user, password } => {
                let user_id = self.prove_by_password(&user, password).await?;
                let until = now.plus_millis(self.inner.config.token_life_ms);
                Ok(Proven { user_id, methods: vec![Method::Password], at: now, until })
            }
            Evidence::Token(text) => {
                let earlier = self.authenticate_token(text.expose_secret()).await;
                let earlier = earlier.map_err(|refusal| other_than("auth.identity.token.id", 401, refusal))?;
                proven_by(&earlier, now).ok_or_else(IamRefusal::internal)
            }
        }
    }

    /// Whoever is unknown, switched off or without a password costs one comparison too.
    async fn prove_by_password(&self, user: &WantedUser, password: SecretString) -> Result<UserId, IamRefusal> {
        let people = self.inner.people()?;
        let user = match user {
            WantedUser::Id(id) => id.parse().ok().and_then(|id| people.user(&id)),
            WantedUser::Name(name, domain) => people.user_named(name, domain),
        };
        let user = user.filter(|user| user.enabled);
        let kept = user.and_then(|user| user.password_hash.as_ref());
        let matches = self.inner.passwords.matches(password, kept).await?;
        user.filter(|_| matches).map(|user| user.id.clone()).ok_or_else(IamRefusal::wrong_credentials)
    }

    /// What another token is worth, for its owner and for administrators of its owner's domain.
    pub async fn validate(&self, asked_by: &Identity, subject: &str) -> Result<Arc<Identity>, IamRefusal> {
        let identity = self.authenticate_token(subject).await;
        let identity = identity.map_err(|refusal| other_than("X-Subject-Token", 404, refusal))?;
        if asked_by.user_id == identity.user_id || self.administers(asked_by, &identity)? {
            return Ok(identity);
        }
        Err(IamRefusal::forbidden("the token of another user can be seen by administrators only"))
    }

    /// Whether somebody administers the domain of somebody, wherever their present credential counts.
    fn administers(&self, somebody: &Identity, other: &Identity) -> Result<bool, IamRefusal> {
        let domain = GrantTarget::Domain(other.domain_id.clone());
        Ok(self.inner.people()?.roles(&somebody.user_id, &domain).contains(&Role::Admin))
    }

    /// Makes a token worthless. When this answers, it is so on disk and for every later request. Whether there was
    /// such a token.
    pub async fn revoke(&self, text: &str) -> Result<bool, StoreError> {
        let Some(hash) = text::token_hash(text) else { return Ok(false) };
        let inner = Arc::clone(&self.inner);
        finish(async move {
            let removed = inner.store.remove_token(hash).await;
            // Also after a failure: the store may have removed it and only failed to say so.
            inner.tokens.revoked(&hash);
            removed
        })
        .await
    }

    /// Makes every token of a user worthless and returns how many there were.
    pub async fn revoke_all_of(&self, user_id: &UserId) -> Result<u64, StoreError> {
        let (inner, user_id) = (Arc::clone(&self.inner), user_id.clone());
        finish(async move {
            let removed = inner.store.remove_tokens_of(&user_id).await;
            inner.tokens.revoked_of(&user_id);
            removed
        })
        .await
    }
}

/// Who somebody has proved to be, and until when that may be relied on.
struct Proven {
    user_id: UserId,
    methods: Vec<Method>,
    at: Timestamp,
    until: Timestamp,
}

/// A token earned with a token does not outlive it: else one leak would last for ever.
fn proven_by(earlier: &Identity, now: Timestamp) -> Option<Proven> {
    let Proof::Token { methods, expires_at, .. } = &earlier.proof else { return None };
    let mut methods = methods.clone();
    if !methods.contains(&Method::Token) {
        methods.push(Method::Token);
    }
    Some(Proven { user_id: earlier.user_id.clone(), methods, at: now, until: *expires_at })
}

/// Where the token shall count. A project or domain of others is answered like one that does not exist.
fn wanted_target(people: &People, user_id: &UserId, wanted: &WantedScope) -> Result<GrantTarget, IamRefusal> {
    let user = people.user(user_id).ok_or_else(IamRefusal::wrong_credentials)?;
    match wanted {
        WantedScope::Default => Ok(GrantTarget::Domain(user.domain_id.clone())),
        WantedScope::Domain(domain) if people.domain_fits(&user.domain_id, domain) => {
            Ok(GrantTarget::Domain(user.domain_id.clone()))
        }
        WantedScope::Domain(_) => Err(IamRefusal::not_found("the domain in `auth.scope.domain` does not exist")),
        WantedScope::Project { project, domain } => wanted_project(people, user, project, domain.as_ref()),
    }
}

/// A name without a domain, or with the domain "default", is looked for in the user's own.
fn wanted_project(
    people: &People,
    user: &User,
    wanted: &NameOrId,
    domain: Option<&NameOrId>,
) -> Result<GrantTarget, IamRefusal> {
    let domain = domain.filter(|domain| !domain.is_default());
    let mut found = people.projects_of(&user.id).into_iter().filter(|project| match (wanted, domain) {
        (NameOrId::Id(id), None) => project.id.as_str() == id,
        (NameOrId::Id(id), Some(domain)) => project.id.as_str() == id && people.domain_fits(&project.domain_id, domain),
        (NameOrId::Name(name), None) => project.name == *name && project.domain_id == user.domain_id,
        (NameOrId::Name(name), Some(domain)) => project.name == *name && people.domain_fits(&project.domain_id, domain),
    });
    let missing = || IamRefusal::not_found("the project in `auth.scope.project` does not exist");
    found.next().map(|project| GrantTarget::Project(project.id.clone())).ok_or_else(missing)
}

/// A refusal of a token that did not come in `X-Auth-Token`.
fn other_than(place: &str, http: u16, refusal: AuthRefusal) -> IamRefusal {
    match refusal {
        AuthRefusal::Unavailable => refusal.into(),
        _ => IamRefusal { http, message: format!("`{place}` is not a valid token") },
    }
}

impl From<HashFailed> for IamRefusal {
    fn from(cause: HashFailed) -> Self {
        tracing::error!(%cause, "a password could not be checked");
        AuthRefusal::Unavailable.into()
    }
}
