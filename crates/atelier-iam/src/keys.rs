//! Access keys: made, shown, switched off and removed, by their owners and by administrators of the owner's domain.
//!
//! A permanent key lasts until somebody removes it; a user has two at most, one to use and one to change over to. A
//! temporary key is earned with a token, or with a permanent key, and never outlives it: it goes when the token is
//! revoked or expires, when the permanent key is removed, and it sleeps while that is switched off. So whoever revokes
//! what was earned with a password has revoked everything that was earned with it.
//!
//! A temporary key can do what its user can, but for one thing: it manages no keys, or one that leaked for a quarter of
//! an hour would be good for ever.

use atelier_core::clock::Timestamp;
use atelier_core::id::UserId;
use atelier_core::{Code, Refusal};
use atelier_store::people::{AccessKey, KeyParent, KeySession, PeopleChange, PeopleWritten, TokenHash};
use secrecy::{ExposeSecret as _, SecretString};

use crate::identity::{Identity, Proof};
use crate::people::People;
use crate::refusal::AuthRefusal;
use crate::service::Iam;
use crate::text;

/// Permanent keys that a user can have.
pub const MOST_KEYS: usize = 2;
/// Temporary keys of a user that can be alive at a time. All of them are held in memory.
pub const MOST_TEMPORARY_KEYS: usize = 100;
/// The shortest life of a temporary key, which is also the usual one, in seconds.
pub const SHORTEST_LIFE_S: i64 = 900;
/// The longest life of a temporary key, in seconds.
pub const LONGEST_LIFE_S: i64 = 86_400;
/// The longest description, in characters.
const MOST_DESCRIPTION: usize = 255;

/// A temporary key that was just made. Its secrets are shown only here.
#[derive(Clone, Debug)]
pub struct TemporaryKey {
    /// The public half.
    pub access: String,
    /// The secret half.
    pub secret: SecretString,
    /// What must come along in `X-Security-Token`.
    pub security_token: SecretString,
    /// The moment from which it is worth nothing.
    pub expires_at: Timestamp,
}

impl Iam {
    /// Makes a permanent key for `owner`. The answer is the only one that has its secret for the owner to read.
    pub async fn create_key(&self, by: &Identity, owner: &UserId, description: &str) -> Result<AccessKey, Refusal> {
        check_description(description)?;
        let (by, key) = (by.clone(), self.new_key(owner, description));
        let (_, key) = self
            .decide(move |people| {
                check_may_manage(people, &by, &key.user_id)?;
                if people.keys_of(&key.user_id).filter(|key| key.session.is_none()).count() >= MOST_KEYS {
                    let message = format!("a user can have {MOST_KEYS} access keys; remove one first");
                    return Err(Refusal::new(Code::QuotaExceeded, message));
                }
                Ok::<_, Refusal>((vec![PeopleChange::PutAccessKey(key.clone())], key))
            })
            .await?;
        Ok(key)
    }

    fn new_key(&self, owner: &UserId, description: &str) -> AccessKey {
        let entropy = self.inner.entropy.as_ref();
        AccessKey {
            access: text::access_key(entropy),
            secret: text::secret_key(entropy),
            user_id: owner.clone(),
            active: true,
            description: description.to_owned(),
            created_at: self.inner.clock.now(),
            session: None,
        }
    }

    /// The permanent keys of a user, oldest first.
    pub fn keys(&self, by: &Identity, owner: &UserId) -> Result<Vec<AccessKey>, Refusal> {
        let people = self.inner.people()?;
        check_may_manage(&people, by, owner)?;
        let mut keys: Vec<_> = people.keys_of(owner).filter(|key| key.session.is_none()).cloned().collect();
        keys.sort_by(|a, b| (a.created_at, &a.access).cmp(&(b.created_at, &b.access)));
        Ok(keys)
    }

    /// One key.
    pub fn key(&self, by: &Identity, access: &str) -> Result<AccessKey, Refusal> {
        manageable(&*self.inner.people()?, by, access)
    }

    /// Switches a key on or off, or describes it anew. When this answers, every later request is checked by it.
    pub async fn update_key(
        &self,
        by: &Identity,
        access: &str,
        active: Option<bool>,
        description: Option<&str>,
    ) -> Result<AccessKey, Refusal> {
        description.map_or(Ok(()), check_description)?;
        let (by, access, description) = (by.clone(), access.to_owned(), description.map(str::to_owned));
        let (_, key) = self
            .decide(move |people| {
                let mut key = manageable(people, &by, &access)?;
                key.active = active.unwrap_or(key.active);
                key.description = description.unwrap_or(key.description);
                Ok::<_, Refusal>((vec![PeopleChange::PutAccessKey(key.clone())], key))
            })
            .await?;
        Ok(key)
    }

    /// Removes a key, and the temporary ones that were earned with it.
    pub async fn delete_key(&self, by: &Identity, access: &str) -> Result<(), Refusal> {
        let (by, access) = (by.clone(), access.to_owned());
        self.decide(move |people| {
            let key = manageable(people, &by, &access)?;
            Ok::<_, Refusal>((vec![PeopleChange::RemoveAccessKey(key.access)], ()))
        })
        .await?;
        Ok(())
    }

    /// Makes a temporary key for whoever `by` is, or for the owner of `token` where one is given. It lives for
    /// `seconds`, but not longer than the token that it is earned with.
    pub async fn create_temporary_key(
        &self,
        by: &Identity,
        token: Option<&str>,
        seconds: i64,
    ) -> Result<TemporaryKey, Refusal> {
        if !(SHORTEST_LIFE_S..=LONGEST_LIFE_S).contains(&seconds) {
            let wanted = format!("{SHORTEST_LIFE_S} to {LONGEST_LIFE_S}");
            return Err(Refusal::bad_value("auth.identity.token.duration_seconds", &wanted));
        }
        let owner = match token {
            Some(text) => (*self.authenticate_token(text).await.map_err(of_body)?).clone(),
            None => by.clone(),
        };
        let now = self.inner.clock.now();
        let asked = now.plus_millis(seconds * 1000);
        let expires_at = owner.expires_at().map_or(asked, |end| end.min(asked));
        let security_token = text::token(self.inner.entropy.as_ref());
        let session = |parent| KeySession {
            token_hash: TokenHash(text::sha256(security_token.expose_secret().as_bytes())),
            expires_at,
            parent,
        };
        let key = AccessKey { session: Some(session(parent_of(&owner))), ..self.new_key(&owner.user_id, "") };
        let made = TemporaryKey { access: key.access.clone(), secret: key.secret.clone(), security_token, expires_at };
        let (written, ()) = self.decide(move |people| keep_temporary(people, &owner, key, now)).await?;
        match written {
            PeopleWritten::Written => Ok(made),
            // What it was to be earned with went in the meantime.
            PeopleWritten::Conflict | PeopleWritten::NotEmpty => Err(AuthRefusal::TokenInvalid.into()),
        }
    }
}

fn parent_of(owner: &Identity) -> KeyParent {
    match &owner.proof {
        Proof::Token { hash, .. } => KeyParent::Token(*hash),
        Proof::AccessKey { access } => KeyParent::Key(access.clone()),
    }
}

/// Those that have expired make room.
fn keep_temporary(
    people: &People,
    owner: &Identity,
    key: AccessKey,
    now: Timestamp,
) -> Result<(Vec<PeopleChange>, ()), Refusal> {
    check_is_no_temporary(people, owner)?;
    let alive = |key: &&AccessKey| key.session.as_ref().is_some_and(|session| now < session.expires_at);
    if people.keys_of(&owner.user_id).filter(alive).count() >= MOST_TEMPORARY_KEYS {
        let message = format!("{MOST_TEMPORARY_KEYS} temporary access keys are alive; wait until one expires");
        return Err(Refusal::new(Code::QuotaExceeded, message));
    }
    let expired = people.temporary_keys().filter(|key| !alive(key));
    let mut changes: Vec<_> = expired.map(|key| PeopleChange::RemoveAccessKey(key.access.clone())).collect();
    changes.push(PeopleChange::PutAccessKey(key));
    Ok((changes, ()))
}

fn check_is_no_temporary(people: &People, by: &Identity) -> Result<(), Refusal> {
    let is_temporary = match &by.proof {
        Proof::AccessKey { access } => people.any_key(access).is_none_or(|key| key.session.is_some()),
        Proof::Token { .. } => false,
    };
    if is_temporary {
        return Err(Refusal::new(Code::NotPermitted, "a temporary access key can neither make nor manage access keys"));
    }
    Ok(())
}

/// Whether somebody may manage the keys of `owner`.
fn check_may_manage(people: &People, by: &Identity, owner: &UserId) -> Result<(), Refusal> {
    check_is_no_temporary(people, by)?;
    if *owner == by.user_id {
        return Ok(());
    }
    let user = people.user(owner);
    match user.map_or(&by.domain_id, |user| &user.domain_id) {
        domain if !people.administers(&by.user_id, domain) => {
            let message = "access keys of another user are managed by administrators only";
            Err(Refusal::new(Code::NotPermitted, message))
        }
        _ if user.is_none() => Err(Refusal::new(Code::NotFound, format!("user `{owner}` does not exist"))),
        _ => Ok(()),
    }
}

/// The key, when somebody may manage it; otherwise the same as for one that does not exist.
fn manageable(people: &People, by: &Identity, access: &str) -> Result<AccessKey, Refusal> {
    check_is_no_temporary(people, by)?;
    let key = people.any_key(access).filter(|key| check_may_manage(people, by, &key.user_id).is_ok());
    key.cloned().ok_or_else(|| {
        let shown: String = access.chars().take(64).collect();
        Refusal::new(Code::NotFound, format!("access key `{shown}` does not exist"))
    })
}

fn check_description(text: &str) -> Result<(), Refusal> {
    if text.chars().count() > MOST_DESCRIPTION || text.chars().any(char::is_control) {
        let wanted = format!("at most {MOST_DESCRIPTION} characters, no control characters");
        return Err(Refusal::bad_value("credential.description", &wanted));
    }
    Ok(())
}

/// A refusal of a token that came in the body.
fn of_body(refusal: AuthRefusal) -> Refusal {
    match refusal {
        AuthRefusal::Unavailable => refusal.into(),
        _ => Refusal::new(refusal.code(), "`auth.identity.token.id` is not a valid token"),
    }
}
