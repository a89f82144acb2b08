//! Tokens: issued to whoever proves who they are, shown to whoever may see them, and revoked.

use std::net::IpAddr;
use std::sync::Arc;

use atelier_core::audit::AuditRecord;
use atelier_core::clock::Timestamp;
use atelier_core::id::UserId;
use atelier_store::StoreError;
use atelier_store::people::{AccessKey, GrantTarget, KeyParent, Method, PeopleChange, Token, TokenHash, User};
use secrecy::{ExposeSecret as _, SecretString};

use crate::auth_request::{AuthRequest, Evidence, NameOrId, WantedScope, WantedUser};
use crate::authenticate::worth;
use crate::identity::{Identity, Proof};
use crate::password::HashFailed;
use crate::people::People;
use crate::recorded::recorded;
use crate::refusal::{AuthRefusal, IamRefusal};
use crate::service::{Iam, Inner, finish};
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
    /// Issues a token to whoever proves who they are. `from`: wrong passwords are counted by it.
    pub async fn log_in(&self, request: AuthRequest, from: IpAddr) -> Result<Issued, IamRefusal> {
        let inner = &self.inner;
        let proven = self.prove(request.evidence, from).await?;
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

    async fn prove(&self, evidence: Evidence, from: IpAddr) -> Result<Proven, IamRefusal> {
        let now = self.inner.clock.now();
        match evidence {
            Evidence::Password { user, password } => {
                let user_id = self.prove_by_password(&user, password, from).await?;
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
    async fn prove_by_password(
        &self,
        wanted: &WantedUser,
        password: SecretString,
        from: IpAddr,
    ) -> Result<UserId, IamRefusal> {
        let people = self.inner.people()?;
        let (user, said) = match wanted {
            WantedUser::Id(id) => (id.parse().ok().and_then(|id| people.user(&id)), id),
            WantedUser::Name(name, domain) => (people.user_named(name, domain), name),
        };
        // However somebody names a user, the tries count together.
        let suspect = user.map_or(said.as_str(), |user| user.id.as_str());
        let user = user.filter(|user| user.enabled);
        let kept = user.and_then(|user| user.password_hash.as_ref());
        let matches = self.password_matches(suspect, from, password, kept).await?;
        user.filter(|_| matches).map(|user| user.id.clone()).ok_or_else(IamRefusal::wrong_credentials)
    }

    /// Whether the password is right. A wrong one is counted, and after five the answer is no without a look. Looked at
    /// twice: whoever is locked out takes no place in the queue, and whoever waited there may be locked out by then.
    pub(crate) async fn password_matches(
        &self,
        suspect: &str,
        from: IpAddr,
        password: SecretString,
        kept: Option<&SecretString>,
    ) -> Result<bool, IamRefusal> {
        let inner = &self.inner;
        let check = || match inner.logins.locked_for(suspect, from, inner.clock.now()) {
            Some(ms) => Err(IamRefusal::locked(ms)),
            None => Ok(()),
        };
        check()?;
        let turn = inner.passwords.turn().await?;
        check()?;
        let (matches, _place) = turn.matches(password, kept).await?;
        if matches {
            inner.logins.good(suspect, from);
        } else {
            inner.logins.bad(suspect, from, inner.clock.now());
        }
        Ok(matches)
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
        Ok(self.inner.people()?.administers(&somebody.user_id, &other.domain_id))
    }

    /// Makes another's or the own token worthless, for its owner and for administrators of its owner's domain.
    pub async fn revoke_for(&self, asked_by: &Identity, subject: &str) -> Result<(), IamRefusal> {
        self.validate(asked_by, subject).await?;
        self.revoke(subject).await?;
        Ok(())
    }

    /// Makes a token worthless, and the temporary keys that were earned with it. When this answers, it is so on disk and
    /// for every later request. Whether there was such a token.
    pub async fn revoke(&self, text: &str) -> Result<bool, StoreError> {
        let Some(hash) = text::token_hash(text) else { return Ok(false) };
        let (inner, call) = (Arc::clone(&self.inner), self.call.clone());
        finish(async move {
            let _one_at_a_time = inner.changing.lock().await;
            let removed = inner.remove_token(hash, call.as_deref()).await;
            // Also after a failure: the store may have removed it and only failed to say so.
            inner.tokens.revoked(&hash);
            inner.drop_keys_of(|token| token == hash).await?;
            removed
        })
        .await
    }

    /// Makes every token of a user worthless, and the temporary keys that were earned with them; returns how many tokens
    /// there were.
    pub async fn revoke_all_of(&self, user_id: &UserId) -> Result<u64, StoreError> {
        let (inner, user_id) = (Arc::clone(&self.inner), user_id.clone());
        finish(async move {
            let _one_at_a_time = inner.changing.lock().await;
            let removed = inner.store.remove_tokens_of(&user_id).await;
            inner.tokens.revoked_of(&user_id);
            inner.drop_keys_of(|_| true).await?;
            removed
        })
        .await
    }
}

impl Inner {
    /// Removes a token, together with the record of the call that asks for it. Called with `changing` held.
    async fn remove_token(&self, hash: TokenHash, call: Option<&AuditRecord>) -> Result<bool, StoreError> {
        let Some(call) = call else { return self.store.remove_token(hash).await };
        let removal = PeopleChange::RemoveToken(hash);
        let known = self.store.token(hash).await?.is_some();
        let people = self.people().unwrap_or_default();
        let record = recorded(call, self.clock.now(), &people, std::slice::from_ref(&removal));
        self.store.change_people(vec![removal, record], false).await?;
        Ok(known)
    }

    /// Reads the directory anew when temporary keys of these tokens are in it: the store has removed them. Called with
    /// `changing` held.
    async fn drop_keys_of(&self, concerns: impl Fn(TokenHash) -> bool) -> Result<(), StoreError> {
        let gone = |key: &AccessKey| match key.session.as_ref().map(|session| &session.parent) {
            Some(KeyParent::Token(hash)) => concerns(*hash),
            Some(KeyParent::Key(_)) | None => false,
        };
        let known = self.people().is_ok_and(|people| people.temporary_keys().any(gone));
        if known { self.reload().await } else { Ok(()) }
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
        _ => IamRefusal::new(http, format!("`{place}` is not a valid token")),
    }
}

impl From<HashFailed> for IamRefusal {
    fn from(cause: HashFailed) -> Self {
        match cause {
            HashFailed::TooManyWait => Self::busy(),
            HashFailed::Broken => {
                tracing::error!(%cause, "a password could not be checked");
                AuthRefusal::Unavailable.into()
            }
        }
    }
}
