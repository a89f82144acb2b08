//! Users: made, switched off and on, given passwords, by administrators of their domain; and everybody's own password.
//!
//! Whatever makes somebody less welcome than before takes their tokens in the same write: a user who is switched off, a
//! password that is changed. A token is proof of a password that was right once; nobody who changes a password because
//! it leaked wants the finder to stay.

use std::net::IpAddr;

use atelier_core::clock::Timestamp;
use atelier_core::id::{ProjectId, UserId};
use atelier_core::{Caller, Code, Refusal};
use atelier_store::people::{Grant, GrantTarget, PeopleChange, PeopleWritten, Role, User};
use secrecy::{ExposeSecret as _, SecretString};

use crate::identity::Identity;
use crate::password::HashFailed;
use crate::people::People;
use crate::refusal::{AuthRefusal, IamRefusal};
use crate::service::Iam;
use crate::text;

/// The shortest password that people may choose, in characters.
const LEAST_PASSWORD: usize = 8;
/// The longest password, in bytes.
const MOST_PASSWORD: usize = 1024;
/// The longest name of a user.
const MOST_NAME: usize = 64;

/// A user, as administrators see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: String,
    /// Whether it can prove anything.
    pub enabled: bool,
    /// What it may do in the project that was asked about.
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its name.
    pub name: String,
    /// Its password; one is made up where none is given.
    pub password: Option<SecretString>,
    /// What it may do in the project it is made in. An administrator of a project administers its domain, too.
    pub role: Role,
}

impl Iam {
    /// The users of the administrator's domain, by name.
    pub fn accounts(&self, by: &Caller) -> Result<Vec<Account>, Refusal> {
        let people = self.inner.people()?;
        check_administers(&people, by)?;
        let mut accounts: Vec<_> =
            people.users_of(&by.domain_id).map(|user| account(&people, user, &by.project_id)).collect();
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(accounts)
    }

    /// Makes a user in the administrator's project; the password comes along, shown only here.
    pub async fn add_account(&self, by: &Caller, new: NewAccount) -> Result<(Account, SecretString), Refusal> {
        check_administers(&*self.inner.people()?, by)?;
        check_name(&new.name)?;
        let password = new.password.unwrap_or_else(|| text::password(self.inner.entropy.as_ref()));
        check_password(&password).map_err(|wanted| Refusal::bad_value("password", &wanted))?;
        let hash = self.hash(password.clone()).await?;
        let user = User {
            id: UserId::generate(self.inner.entropy.as_ref()),
            domain_id: by.domain_id.clone(),
            name: new.name,
            password_hash: Some(hash),
            enabled: true,
            created_at: self.inner.clock.now(),
        };
        let made = Account {
            id: user.id.clone(),
            name: user.name.clone(),
            enabled: true,
            roles: vec![new.role],
            created_at: user.created_at,
        };
        let by = by.clone();
        let (written, ()) = self
            .decide(move |people| {
                check_administers(people, &by)?;
                let mut changes = grants(&user, &by, new.role);
                changes.insert(0, PeopleChange::PutUser(user));
                Ok::<_, Refusal>((changes, ()))
            })
            .await?;
        match written {
            PeopleWritten::Written => Ok((made, password)),
            PeopleWritten::Conflict | PeopleWritten::NotEmpty => {
                Err(Refusal::bad_value("name", "one that no other user has"))
            }
        }
    }

    /// Switches a user off or on. Off: nothing that they ever proved counts from the next request on.
    pub async fn enable_account(&self, by: &Caller, id: &UserId, enabled: bool) -> Result<Account, Refusal> {
        let (by, id) = (by.clone(), id.clone());
        let (_, account) = self
            .decide(move |people| {
                let user = administered(people, &by, &id)?;
                if !enabled && id == by.user_id {
                    // So that somebody is always left who can switch users on.
                    return Err(Refusal::new(Code::NotPermitted, "nobody can switch themselves off"));
                }
                let user = User { enabled, ..user.clone() };
                let account = account(people, &user, &by.project_id);
                let mut changes = vec![PeopleChange::PutUser(user)];
                changes.extend((!enabled).then_some(PeopleChange::RemoveTokensOf(id)));
                Ok((changes, account))
            })
            .await?;
        Ok(account)
    }

    /// Gives a user a password, made up where none is given, and ends their tokens.
    pub async fn reset_password(
        &self,
        by: &Caller,
        id: &UserId,
        password: Option<SecretString>,
    ) -> Result<(Account, SecretString), Refusal> {
        administered(&*self.inner.people()?, by, id)?;
        let password = password.unwrap_or_else(|| text::password(self.inner.entropy.as_ref()));
        check_password(&password).map_err(|wanted| Refusal::bad_value("password", &wanted))?;
        let hash = self.hash(password.clone()).await?;
        let (by, id) = (by.clone(), id.clone());
        let (_, account) = self
            .decide(move |people| {
                let user = administered(people, &by, &id)?;
                Ok::<_, Refusal>((with_password(user, hash), account(people, user, &by.project_id)))
            })
            .await?;
        Ok((account, password))
    }

    /// Changes somebody's own password, for whoever knows the present one. It is asked for although they have shown who
    /// they are: whoever found a token should not be able to keep its owner out.
    pub async fn change_password(
        &self,
        by: &Identity,
        user_id: &str,
        original: SecretString,
        new: SecretString,
        from: IpAddr,
    ) -> Result<(), IamRefusal> {
        if by.user_id.as_str() != user_id {
            return Err(IamRefusal::forbidden("the password of another user is changed by administrators only"));
        }
        check_password(&new).map_err(|wanted| IamRefusal::bad_request(format!("`user.password` must be {wanted}")))?;
        if new.expose_secret() == original.expose_secret() {
            return Err(IamRefusal::bad_request("`user.password` must differ from `user.original_password`"));
        }
        let kept = self.inner.people()?.user(&by.user_id).and_then(|user| user.password_hash.clone());
        if !self.password_matches(by.user_id.as_str(), from, original, kept.as_ref()).await? {
            return Err(IamRefusal::new(401, "`user.original_password` is wrong"));
        }
        let hash = self.hash(new).await?;
        let id = by.user_id.clone();
        self.decide(move |people| {
            let user = people.user(&id).ok_or_else(IamRefusal::wrong_credentials)?;
            let same = user.password_hash.as_ref().map(secrecy::ExposeSecret::expose_secret)
                == kept.as_ref().map(secrecy::ExposeSecret::expose_secret);
            if !same || !user.enabled {
                return Err(IamRefusal::new(401, "`user.original_password` is wrong"));
            }
            Ok((with_password(user, hash), ()))
        })
        .await?;
        Ok(())
    }

    async fn hash(&self, password: SecretString) -> Result<SecretString, HashFailed> {
        self.inner.passwords.hash(password, self.inner.entropy.as_ref()).await
    }
}

fn with_password(user: &User, hash: SecretString) -> Vec<PeopleChange> {
    let id = user.id.clone();
    vec![PeopleChange::PutUser(User { password_hash: Some(hash), ..user.clone() }), PeopleChange::RemoveTokensOf(id)]
}

fn grants(user: &User, by: &Caller, role: Role) -> Vec<PeopleChange> {
    let give = |target| PeopleChange::Give(Grant { user_id: user.id.clone(), target, role });
    let in_project = give(GrantTarget::Project(by.project_id.clone()));
    match role {
        Role::Admin => vec![in_project, give(GrantTarget::Domain(by.domain_id.clone()))],
        Role::Member => vec![in_project],
    }
}

fn account(people: &People, user: &User, project_id: &ProjectId) -> Account {
    Account {
        id: user.id.clone(),
        name: user.name.clone(),
        enabled: user.enabled,
        roles: people.roles(&user.id, &GrantTarget::Project(project_id.clone())).to_vec(),
        created_at: user.created_at,
    }
}

fn check_administers(people: &People, by: &Caller) -> Result<(), Refusal> {
    if people.administers(&by.user_id, &by.domain_id) {
        return Ok(());
    }
    Err(Refusal::new(Code::NotPermitted, "only users with the role `admin` in the domain may do this"))
}

/// A user whom somebody administers.
fn administered<'p>(people: &'p People, by: &Caller, id: &UserId) -> Result<&'p User, Refusal> {
    check_administers(people, by)?;
    let user = people.user(id).filter(|user| user.domain_id == by.domain_id);
    user.ok_or_else(|| Refusal::new(Code::NotFound, format!("user `{id}` does not exist")))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    if (1..=MOST_NAME).contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Refusal::bad_value("name", "1 to 64 letters, digits or any of `-_.@`"))
}

/// What would be accepted, when this is not.
fn check_password(password: &SecretString) -> Result<(), String> {
    let text = password.expose_secret();
    if text.chars().count() >= LEAST_PASSWORD && text.len() <= MOST_PASSWORD {
        return Ok(());
    }
    Err(format!("{LEAST_PASSWORD} characters long at least, {MOST_PASSWORD} bytes at most"))
}

impl From<HashFailed> for Refusal {
    fn from(cause: HashFailed) -> Self {
        match cause {
            HashFailed::TooManyWait => Self::new(Code::Throttled, "too many logins wait for their turn"),
            HashFailed::Broken => {
                tracing::error!(%cause, "a password could not be hashed");
                AuthRefusal::Unavailable.into()
            }
        }
    }
}
