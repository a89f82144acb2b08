//! What becomes known of a request on its way: which operation it is, who sent it, what it is about, why it was refused.
//!
//! Those who find something out write it here, once each; whoever stands before the router reads it at the end, for the
//! figures, the access log, the audit and the traces. A docket travels with the request, as an extension, because what is
//! found out deep inside has no other way out: a refused extractor has no response of its own to write to.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use atelier_core::Timestamp;
use atelier_core::audit::AuditRecord;
use atelier_core::caller::{Credential, Source};
use atelier_core::id::{NotebookId, ProjectId, UserId};
use atelier_iam::Identity;
use atelier_store::people::Method;
use http::StatusCode;

/// The longest path that is kept.
const MOST_CHARS: usize = 256;

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The user's id.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// How they proved it, and from where.
    pub source: Source,
}

/// What is known of a request.
#[derive(Debug)]
pub struct Docket {
    request_id: Arc<str>,
    path: OnceLock<String>,
    operation: OnceLock<Arc<str>>,
    sender: OnceLock<Sender>,
    project: OnceLock<ProjectId>,
    notebook: OnceLock<NotebookId>,
    refusal: OnceLock<(&'static str, String)>,
}

impl Docket {
    /// An empty one.
    pub fn new(request_id: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            request_id,
            path: OnceLock::new(),
            operation: OnceLock::new(),
            sender: OnceLock::new(),
            project: OnceLock::new(),
            notebook: OnceLock::new(),
            refusal: OnceLock::new(),
        })
    }

    /// The one that a request carries.
    pub fn of(extensions: &http::Extensions) -> Option<&Arc<Self>> {
        extensions.get()
    }

    /// The request's id: 32 hexadecimal digits.
    pub const fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// The API's name of the operation; nothing when no operation has such a path.
    pub fn operation(&self) -> Option<&Arc<str>> {
        self.operation.get()
    }

    /// Who sent it; nobody when they did not prove it.
    pub fn sender(&self) -> Option<&Sender> {
        self.sender.get()
    }

    /// The project that the sender acts in.
    pub fn project(&self) -> Option<&ProjectId> {
        self.project.get()
    }

    /// The notebook that it is about: in its path, or known later.
    pub fn notebook(&self) -> Option<NotebookId> {
        self.notebook.get().copied()
    }

    /// The code and the words of its refusal.
    pub fn refusal(&self) -> Option<(&'static str, &str)> {
        self.refusal.get().map(|(code, words)| (*code, words.as_str()))
    }

    /// Its record for the audit, when it is of an operation: answered at `at` with `status`, with nothing known yet of
    /// what it changes.
    pub fn record(&self, at: Timestamp, status: StatusCode) -> Option<AuditRecord> {
        let sender = self.sender();
        Some(AuditRecord {
            at,
            project_id: self.project().cloned(),
            user_id: sender.map(|sender| sender.user_id.clone()),
            user_name: sender.map(|sender| sender.user_name.clone()),
            source: sender.map(|sender| sender.source.clone()).unwrap_or_default(),
            operation: self.operation()?.to_string(),
            notebook_id: self.notebook(),
            target: self.path.get().cloned(),
            request_id: self.request_id.to_string(),
            status: status.as_u16(),
            code: self.refusal().map(|(code, _)| code.to_owned()),
            changes: Vec::new(),
        })
    }

    /// It goes to this path, of which so much is kept as a record holds.
    pub fn goes_to(&self, path: &str) {
        let _ = self.path.set(path.chars().take(MOST_CHARS).collect());
    }

    /// It is this operation.
    pub fn is(&self, operation: Arc<str>) {
        let _ = self.operation.set(operation);
    }

    /// This one sent it.
    pub fn sent_by(&self, identity: &Identity, from: Option<IpAddr>) {
        let source = Source { credential: identity.credential(), address: from };
        let sender = Sender { user_id: identity.user_id.clone(), user_name: identity.user_name.clone(), source };
        let _ = self.sender.set(sender);
    }

    /// This one logged in with it, by a password or an earlier token.
    pub fn logged_in(&self, identity: &Identity, from: Option<IpAddr>) {
        let by_password = match &identity.proof {
            atelier_iam::Proof::Token { methods, .. } => methods.contains(&Method::Password),
            atelier_iam::Proof::AccessKey { .. } => false,
        };
        let credential = if by_password { Credential::Password } else { identity.credential() };
        let source = Source { credential, address: from };
        let sender = Sender { user_id: identity.user_id.clone(), user_name: identity.user_name.clone(), source };
        let _ = self.sender.set(sender);
        if let Some(project) = identity.project_id() {
            let _ = self.project.set(project.clone());
        }
    }

    /// It is about this project, and its sender may act there.
    pub fn acts_in(&self, project: &ProjectId) {
        let _ = self.project.set(project.clone());
    }

    /// It names this notebook.
    pub fn is_about(&self, notebook: NotebookId) {
        let _ = self.notebook.set(notebook);
    }

    /// It was refused.
    pub fn refuse(&self, code: &'static str, words: &str) {
        let _ = self.refusal.set((code, words.to_owned()));
    }
}
