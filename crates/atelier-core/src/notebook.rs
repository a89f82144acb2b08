//! The notebook itself.

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Timestamp;
use crate::feature::Feature;
use crate::flavor::Flavor;
use crate::hook::Hooks;
use crate::id::{DomainId, NotebookId, ProjectId, UserId};
use crate::image::Image;
use crate::lease::{Lease, Terms};
use crate::operation::StepRecord;
use crate::pool::InPool;
use crate::refusal::{Code, Refusal};
use crate::status::{Event, Status};
use crate::tags::Tags;
use crate::volume::Volume;

/// Who a notebook belongs to. Names are kept as they were at creation: answers show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// The account.
    pub domain_id: DomainId,
    /// The account's name.
    pub domain_name: String,
}

/// What only the legacy API says of a notebook, and shows again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyWords {
    /// The profile that it was asked for with.
    pub profile_id: Option<String>,
    /// Whether a console should remind people of the automatic stop.
    pub prompt: bool,
}

impl Default for LegacyWords {
    /// What a notebook has that another API made.
    fn default() -> Self {
        Self { profile_id: None, prompt: true }
    }
}

/// A notebook, as it is kept.
///
/// Its status is private: [`Notebook::apply`] is the only way to move it, and goes through the one table.
#[derive(Clone, Debug)]
pub struct Notebook {
    /// Its id.
    pub id: NotebookId,
    /// The project it is in.
    pub project_id: ProjectId,
    /// Who it belongs to.
    pub owner: Owner,
    /// Its name; names need not be unique.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What it is.
    pub feature: Feature,
    /// What people hung on it.
    pub tags: Tags,
    /// Its size, as it was when it was chosen.
    pub flavor: Flavor,
    /// The pool that it is in, from its creation on.
    pub pool: Option<InPool>,
    /// Its image, as it was when it was chosen.
    pub image: Image,
    /// Its volume.
    pub volume: Volume,
    /// What is run in it at each start.
    pub hooks: Hooks,
    /// The workspace it is in; `0` is the built-in one.
    pub workspace_id: String,
    status: Status,
    /// Why it failed; only in failed statuses.
    pub fail_reason: Option<String>,
    /// When it was made.
    pub create_at: Timestamp,
    /// When its status last became stable: what clients see as `update_at`.
    pub update_at: Timestamp,
    /// Its automatic stop.
    pub lease: Lease,
    /// The terms of the lease that the next start writes when it is asked for none, where somebody has said so since the
    /// lease was last written; see [`Notebook::start_terms`].
    pub next_terms: Option<Terms>,
    /// What the legacy API says of it.
    pub legacy: LegacyWords,
    /// What opens it in a browser; a new one at each start.
    pub token: SecretString,
    /// What the gateway shows to the notebook server; never leaves Atelier.
    pub upstream_secret: SecretString,
    /// Whether it ever ran: only then it has a URL.
    pub ever_ran: bool,
    /// The steps of the creation or start under way, for `action_progress`; empty otherwise.
    pub progress: Vec<StepRecord>,
    /// Raised by every write; a writer who read an older one has lost.
    pub generation: u64,
}

impl Notebook {
    /// Its status.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The id of its pool, where it is in one.
    pub fn pool_id(&self) -> Option<&str> {
        self.pool.as_ref().map(|pool| pool.id.as_str())
    }

    /// What `event` makes of it at `now`. Refused with 6357, naming the status, when the table has no such way.
    ///
    /// `update_at` moves when a status is reached that rests; a request alone does not move it.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<(), Refusal> {
        let next = self.status.on(event).ok_or_else(|| self.conflict(event))?;
        if next.is_stable() && next != self.status {
            self.update_at = now;
        }
        if !next.is_failed() {
            self.fail_reason = None;
        }
        if next != Status::Running {
            // The next start gives the volume its full size before anything uses it.
            self.volume.settle();
        }
        self.status = next;
        Ok(())
    }

    /// The terms of the lease that a start writes when it is asked for none: what was last asked for, by whatever call.
    pub fn start_terms(&self) -> Terms {
        self.next_terms.unwrap_or_else(|| self.lease.terms())
    }

    /// Writes the lease anew at `at`, as somebody asked; what was said before of the next start is over.
    pub fn write_lease(&mut self, at: Timestamp, terms: Terms) {
        self.lease = self.lease.rewritten(at, terms.grant, terms.kind);
        self.next_terms = None;
    }

    /// Follows a wall clock that was set by `ms` and shows `now`: what is left of the lease stays, and nothing lies in
    /// the future.
    pub fn follow_clock(&mut self, ms: i64, now: Timestamp) {
        self.lease = self.lease.moved(ms, now);
        self.create_at = self.lease.create_at();
        if self.update_at > now {
            self.update_at = self.update_at.plus_millis(ms).min(now);
        }
    }

    /// Whether `now`, a later state of this notebook that was read in the same generation, differs at most in its course:
    /// what moves by itself while a notebook goes its way. Stores write that alone where they can.
    ///
    /// Every field is named, so that a new one has to take a side.
    pub fn differs_only_in_course(&self, now: &Self) -> bool {
        let Self {
            id,
            project_id,
            owner,
            name,
            description,
            feature,
            tags,
            flavor,
            pool,
            image,
            volume,
            hooks,
            workspace_id,
            create_at,
            legacy,
            token,
            upstream_secret,
            generation,
            status: _,
            fail_reason: _,
            update_at: _,
            lease: _,
            next_terms: _,
            ever_ran: _,
            progress: _,
        } = self;
        *id == now.id
            && *generation == now.generation
            && *create_at == now.create_at
            && token.expose_secret() == now.token.expose_secret()
            && upstream_secret.expose_secret() == now.upstream_secret.expose_secret()
            && *project_id == now.project_id
            && *owner == now.owner
            && *name == now.name
            && *description == now.description
            && *feature == now.feature
            && *tags == now.tags
            && *flavor == now.flavor
            && *pool == now.pool
            && *image == now.image
            && *volume == now.volume
            && *hooks == now.hooks
            && *workspace_id == now.workspace_id
            && *legacy == now.legacy
    }

    fn conflict(&self, event: Event) -> Refusal {
        let verb = match event {
            Event::StartAsked => "started",
            Event::StopAsked => "stopped",
            Event::DeleteAsked => "deleted",
            Event::SaveAsked => "saved",
            _ => "changed",
        };
        Refusal::new(Code::Conflict, format!("notebook is {}; it cannot be {verb} now", self.status))
    }

    /// A notebook read back from a store, in the status it was kept with.
    #[must_use]
    pub fn with_stored_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }
}

/// What a new notebook is made of.
#[derive(Clone, Debug)]
pub struct NewNotebook {
    /// Its id.
    pub id: NotebookId,
    /// The project it is in.
    pub project_id: ProjectId,
    /// Who it belongs to.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What it is.
    pub feature: Feature,
    /// What is hung on it.
    pub tags: Tags,
    /// Its size.
    pub flavor: Flavor,
    /// The pool that it is in.
    pub pool: Option<InPool>,
    /// Its image.
    pub image: Image,
    /// Its volume.
    pub volume: Volume,
    /// What is run in it at each start.
    pub hooks: Hooks,
    /// Its workspace.
    pub workspace_id: String,
    /// Its first lease.
    pub lease: Lease,
    /// What the legacy API says of it.
    pub legacy: LegacyWords,
    /// What opens it.
    pub token: SecretString,
    /// What the gateway shows to the notebook server.
    pub upstream_secret: SecretString,
    /// The steps that lie before it.
    pub progress: Vec<StepRecord>,
    /// When it is made.
    pub create_at: Timestamp,
}

impl From<NewNotebook> for Notebook {
    /// A new notebook is in the status INIT and in generation 0.
    fn from(new: NewNotebook) -> Self {
        Self {
            id: new.id,
            project_id: new.project_id,
            owner: new.owner,
            name: new.name,
            description: new.description,
            feature: new.feature,
            tags: new.tags,
            flavor: new.flavor,
            pool: new.pool,
            image: new.image,
            volume: new.volume,
            hooks: new.hooks,
            workspace_id: new.workspace_id,
            status: Status::Init,
            fail_reason: None,
            create_at: new.create_at,
            update_at: new.create_at,
            lease: new.lease,
            next_terms: None,
            legacy: new.legacy,
            token: new.token,
            upstream_secret: new.upstream_secret,
            ever_ran: false,
            progress: new.progress,
            generation: 0,
        }
    }
}

/// Checks a notebook's name: 1 to 128 letters, digits, hyphens, underscores or Chinese characters.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let chars = name.chars().count();
    if chars == 0 || chars > crate::limits::MAX_NAME_CHARS {
        return Err(Refusal::bad_value("name", "1 to 128 characters long"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || ('\u{4e00}'..='\u{9fa5}').contains(&c);
    match name.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(c) => Err(Refusal::new(
            Code::ForbiddenCharacter,
            format!("`name` may hold letters, digits, `-`, `_` and Chinese characters, not {c:?}"),
        )),
    }
}

/// Checks a description at creation: at most 512 characters, none of `& < > " ' /`.
pub fn check_description(text: &str) -> Result<(), Refusal> {
    check_text(text, "&<>\"'/")
}

/// Checks a description that takes the place of another: as at creation, but it may hold `'`.
pub fn check_new_description(text: &str) -> Result<(), Refusal> {
    check_text(text, "&<>\"/")
}

fn check_text(text: &str, forbidden: &str) -> Result<(), Refusal> {
    if text.chars().count() > crate::limits::MAX_DESCRIPTION_CHARS {
        return Err(Refusal::bad_value("description", "at most 512 characters long"));
    }
    let Some(c) = text.chars().find(|c| forbidden.contains(*c)) else { return Ok(()) };
    let signs: Vec<_> = forbidden.chars().map(String::from).collect();
    let message = format!("`description` must not hold any of {}, but holds {c:?}", signs.join(" "));
    Err(Refusal::new(Code::ForbiddenCharacter, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        for good in ["a", "nb-1_X", "笔记本", &"x".repeat(128)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name("").unwrap_err().code(), Code::BadValue);
        assert_eq!(check_name(&"x".repeat(129)).unwrap_err().code(), Code::BadValue);
        for bad in ["a b", "a.b", "a/b", "é", "\u{4dff}"] {
            assert_eq!(check_name(bad).unwrap_err().code(), Code::ForbiddenCharacter, "{bad}");
        }
    }

    #[test]
    fn descriptions_follow_the_contract() {
        assert_eq!(check_description(""), Ok(()));
        assert_eq!(check_description(&"ü".repeat(512)), Ok(()));
        assert_eq!(check_description(&"x".repeat(513)).unwrap_err().code(), Code::BadValue);
        for bad in ['&', '<', '>', '"', '\'', '/'] {
            assert_eq!(check_description(&bad.to_string()).unwrap_err().code(), Code::ForbiddenCharacter);
            assert_eq!(check_new_description(&bad.to_string()).is_ok(), bad == '\'');
        }
    }
}
