//! The audit: who changed what, or was refused.
//!
//! A record tells of one call that changes something, also of a refused one. It is written with the change itself where
//! a notebook or somebody's account, password, key or token changes, in the same commit, so that neither is kept without the other. It names what changed with the
//! values before and after, and never holds a secret: that a token was replaced is told, the token is not.

use crate::caller::{Caller, Source};
use crate::clock::Timestamp;
use crate::hook::{Action, Hook, Moment};
use crate::id::{NotebookId, ProjectId, UserId};
use crate::notebook::Notebook;
use crate::tags::Tags;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it was answered.
    pub at: Timestamp,
    /// The project that it was about; none for calls outside projects, such as a log-in.
    pub project_id: Option<ProjectId>,
    /// Who called; nobody when they did not prove it.
    pub user_id: Option<UserId>,
    /// Their name at that time.
    pub user_name: Option<String>,
    /// How they proved it, and from where.
    pub source: Source,
    /// The API's name of the operation.
    pub operation: String,
    /// The notebook that it was about.
    pub notebook_id: Option<NotebookId>,
    /// What else it was about, as the path of the call.
    pub target: Option<String>,
    /// The request.
    pub request_id: String,
    /// The status of the answer.
    pub status: u16,
    /// The code of the refusal, when it was one.
    pub code: Option<String>,
    /// What changed.
    pub changes: Vec<FieldChange>,
}

/// One field, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name, in the API's words.
    pub field: String,
    /// What it was; nothing where there was none.
    pub before: Option<String>,
    /// What it is; nothing where there is none any more.
    pub after: Option<String>,
}

impl AuditRecord {
    /// A call that was accepted and changed this notebook.
    pub fn of_change(
        caller: &Caller,
        request_id: &str,
        operation: &str,
        before: Option<&Notebook>,
        after: &Notebook,
        at: Timestamp,
    ) -> Self {
        Self { changes: changes(before, after), ..Self::of_call(caller, request_id, operation, after.id, at) }
    }

    /// A call about this notebook that was accepted.
    pub fn of_call(caller: &Caller, request_id: &str, operation: &str, id: NotebookId, at: Timestamp) -> Self {
        Self {
            at,
            project_id: Some(caller.project_id.clone()),
            user_id: Some(caller.user_id.clone()),
            user_name: Some(caller.user_name.clone()),
            source: caller.source.clone(),
            operation: operation.to_owned(),
            notebook_id: Some(id),
            target: None,
            request_id: request_id.to_owned(),
            status: 200,
            code: None,
            changes: Vec::new(),
        }
    }
}

/// The fields in which two states of a notebook differ, secrets by their replacement only.
pub fn changes(before: Option<&Notebook>, after: &Notebook) -> Vec<FieldChange> {
    let old = before.map(shown);
    let differing = shown(after).into_iter().enumerate().filter_map(|(at, (field, new))| {
        let old = old.as_ref().and_then(|old| old[at].1.clone());
        (old != new).then(|| FieldChange { field: field.to_owned(), before: old, after: new })
    });
    let hooks = Moment::ALL.into_iter().filter_map(|moment| changed_hook(moment, before, after));
    let mut changes: Vec<_> = differing.chain(hooks).collect();
    if before.is_some_and(|before| !is_same_token(before, after)) {
        let replaced = Some("replaced".to_owned());
        changes.push(FieldChange { field: "token".into(), before: None, after: replaced });
    }
    changes
}

fn is_same_token(one: &Notebook, other: &Notebook) -> bool {
    use secrecy::ExposeSecret as _;
    one.token.expose_secret() == other.token.expose_secret()
}

/// What of a notebook may be shown, in the order of its answer.
fn shown(notebook: &Notebook) -> [(&'static str, Option<String>); 21] {
    let (lease, next) = (notebook.lease, notebook.next_terms);
    [
        ("name", Some(notebook.name.clone())),
        ("description", Some(notebook.description.clone()).filter(|text| !text.is_empty())),
        ("owner", Some(notebook.owner.user_name.clone())),
        ("feature", Some(notebook.feature.as_str().to_owned())),
        ("tags", Some(joined(&notebook.tags)).filter(|text| !text.is_empty())),
        ("flavor", Some(notebook.flavor.id.clone())),
        ("custom_spec", notebook.flavor.custom_spec().map(|spec| spec.to_string())),
        ("pool_id", notebook.pool_id().map(str::to_owned)),
        ("image_id", Some(notebook.image.id.to_string())),
        ("volume.id", Some(notebook.volume.id.to_string())),
        ("volume.category", Some(notebook.volume.category().to_owned())),
        ("volume.uri", notebook.volume.uri().map(|uri| uri.as_str().to_owned())),
        ("volume.capacity", notebook.volume.capacity_gib().map(|gib| gib.to_string())),
        ("workspace_id", Some(notebook.workspace_id.clone())),
        ("status", Some(notebook.status().as_str().to_owned())),
        ("fail_reason", notebook.fail_reason.clone()),
        ("lease.type", Some(lease.kind().as_str().to_owned())),
        ("lease.ends_at", lease.expiry().map(|end| end.as_millis().to_string())),
        ("next_start.type", next.map(|terms| terms.kind.as_str().to_owned())),
        ("next_start.duration", next.map(|terms| terms.grant.as_wire().to_string())),
        ("profile_id", notebook.legacy.profile_id.clone()),
    ]
}

/// The hook of this moment, where it is another one. Its text may hold what is nobody's business, and is not told.
fn changed_hook(moment: Moment, before: Option<&Notebook>, after: &Notebook) -> Option<FieldChange> {
    let (old, new) = (before.and_then(|before| before.hooks.at(moment)), after.hooks.at(moment));
    let field = || format!("hooks.{}", moment.as_str());
    (old != new).then(|| FieldChange { field: field(), before: old.map(outline), after: new.map(outline) })
}

fn outline(hook: &Hook) -> String {
    let (mode, kind) = (hook.mode().as_str(), hook.action().kind());
    match hook.action() {
        Action::Script(path) => format!("{mode} {kind} {path}"),
        Action::Command(text) => format!("{mode} {kind} of {} bytes", text.len()),
    }
}

/// Tags in one line; neither `,` nor `|` can be in one.
fn joined(tags: &Tags) -> String {
    tags.iter().map(|(key, value)| format!("{key}|{value}")).collect::<Vec<_>>().join(",")
}
