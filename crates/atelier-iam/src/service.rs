//! The service: what is held in memory, and the calls that change it.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use atelier_core::audit::AuditRecord;
use atelier_core::clock::{Clock, Entropy, Timestamp};
use atelier_store::StoreError;
use atelier_store::people::{Domain, PeopleChange, PeopleStore, PeopleWritten};
use secrecy::SecretString;
use tokio::sync::{Mutex, watch};

use crate::first_start::{FirstStart, FirstStartError};
use crate::identity::Identity;
use crate::listing::{ProjectFilter, ProjectPage};
use crate::lockout::Lockout;
use crate::password::{BadCost, PasswordCost, Passwords};
use crate::people::People;
use crate::recorded::recorded;
use crate::refusal::{AuthRefusal, IamRefusal};
use crate::text;
use crate::tokens::Tokens;

const HOUR_MS: i64 = 60 * 60 * 1000;
/// How long an expired token is still told apart from one that never was.
const REMEMBERED_MS: i64 = 24 * HOUR_MS;

/// What the service is told by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamConfig {
    /// The region's name; the first project bears it.
    pub region: String,
    /// How long a token lives, in milliseconds.
    pub token_life_ms: i64,
    /// What hashing a password costs.
    pub password_cost: PasswordCost,
}

impl IamConfig {
    /// The usual configuration of this region: tokens live a day.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: region.into(), token_life_ms: 24 * HOUR_MS, password_cost: PasswordCost::default() }
    }
}

/// The service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configured cost of password hashes is impossible.
    #[error(transparent)]
    Cost(#[from] BadCost),
}

/// The identity service. Cheap to clone.
#[derive(Clone)]
pub struct Iam {
    pub(crate) inner: Arc<Inner>,
    /// The call that this one serves, where it is one.
    pub(crate) call: Option<Arc<AuditRecord>>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn PeopleStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tokens: Tokens,
    pub(crate) lockout: Lockout,
    /// Wrong passwords, by user.
    pub(crate) logins: Lockout,
    /// What an unknown access key is checked against, so that it takes as long as a known one.
    pub(crate) nobodys_secret: SecretString,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: IamConfig,
    pub(crate) passwords: Passwords,
    /// Nothing while what the store holds is not known for certain: then nobody is let in.
    people: RwLock<Option<Arc<People>>>,
    /// Counts the directories that were read.
    versions: AtomicU64,
    /// Tells of every one of them.
    pub(crate) changed: watch::Sender<u64>,
    /// Changes of the directory, one at a time.
    pub(crate) changing: Mutex<()>,
    tidied_at: AtomicI64,
}

impl fmt::Debug for Iam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iam").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Iam {
    /// Loads the directory.
    pub async fn open(
        store: Arc<dyn PeopleStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        config: IamConfig,
    ) -> Result<Self, OpenError> {
        let people = People::new(0, store.directory().await?);
        let inner = Inner {
            passwords: Passwords::new(config.password_cost)?,
            tokens: Tokens::default(),
            lockout: Lockout::default(),
            logins: Lockout::default(),
            nobodys_secret: text::secret_key(entropy.as_ref()),
            people: RwLock::new(Some(Arc::new(people))),
            versions: AtomicU64::new(1),
            changed: watch::Sender::new(0),
            changing: Mutex::default(),
            tidied_at: AtomicI64::new(i64::MIN),
            store,
            clock,
            entropy,
            config,
        };
        Ok(Self { inner: Arc::new(inner), call: None })
    }

    /// The same service for one call: what it changes is recorded in the audit, in the commit of the change, so that
    /// neither is kept without the other. The record says who calls; its time and what changed are filled in.
    #[must_use]
    pub fn for_call(&self, call: Option<AuditRecord>) -> Self {
        Self { inner: Arc::clone(&self.inner), call: call.map(Arc::new) }
    }

    /// Makes the first administrator when the store is empty, and nothing otherwise. `record` has to write down what it
    /// is given, readable to nobody else, and to return only when that survives a crash; see
    /// [`first_start`](crate::first_start).
    pub async fn bootstrap(
        &self,
        record: impl FnOnce(&FirstStart) -> std::io::Result<()>,
    ) -> Result<Option<FirstStart>, FirstStartError> {
        let inner = &self.inner;
        let _one_at_a_time = inner.changing.lock().await;
        if !People::new(0, inner.store.directory().await?).is_empty() {
            return Ok(None);
        }
        let first = FirstStart::make_up(&inner.config.region, inner.entropy.as_ref());
        let hash = inner.passwords.hash(first.password.clone(), inner.entropy.as_ref()).await?;
        record(&first).map_err(FirstStartError::Record)?;
        let written = inner.change(first.changes(hash, inner.clock.now()), true).await?;
        Ok((written == PeopleWritten::Written).then_some(first))
    }

    /// The time by which it decides.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Changes the directory. When this answers, the change is on disk and every later request sees it.
    pub async fn change_people(&self, changes: Vec<PeopleChange>) -> Result<PeopleWritten, StoreError> {
        let inner = Arc::clone(&self.inner);
        finish(async move {
            let _one_at_a_time = inner.changing.lock().await;
            inner.change(changes, false).await
        })
        .await
    }

    /// Changes the directory by what `decide` makes of it as it is, with nobody in between. Carried to its end also when
    /// whoever asked stops waiting.
    pub(crate) async fn decide<T, R>(
        &self,
        decide: impl FnOnce(&People) -> Result<(Vec<PeopleChange>, T), R> + Send + 'static,
    ) -> Result<(PeopleWritten, T), R>
    where
        T: Send + 'static,
        R: From<AuthRefusal> + Send + 'static,
    {
        let (inner, call) = (Arc::clone(&self.inner), self.call.clone());
        let change = async move {
            let _one_at_a_time = inner.changing.lock().await;
            let people = inner.people()?;
            let (mut changes, made) = decide(&people)?;
            if let Some(call) = &call {
                changes.push(recorded(call, inner.clock.now(), &people, &changes));
            }
            let written = inner.change(changes, false).await.map_err(AuthRefusal::from)?;
            Ok((written, made))
        };
        tokio::spawn(change).await.unwrap_or_else(|_| Err(AuthRefusal::Unavailable.into()))
    }

    /// Whether identity can be checked: for readiness. Reads the directory again when it was lost.
    pub async fn check(&self) -> Result<(), StoreError> {
        if self.inner.people().is_ok() {
            return Ok(());
        }
        let _one_at_a_time = self.inner.changing.lock().await;
        self.inner.reload().await
    }

    /// How many requests were refused because too many bad signatures or passwords came before them.
    pub fn locked_out(&self) -> u64 {
        self.inner.lockout.refused() + self.inner.logins.refused()
    }

    /// The projects in which the caller has a role.
    pub fn projects(&self, identity: &Identity, filter: &ProjectFilter) -> Result<ProjectPage, IamRefusal> {
        Ok(filter.page_of(self.inner.people()?.projects_of(&identity.user_id)))
    }

    /// The domains that the caller can turn to: their own.
    pub fn domains(&self, identity: &Identity) -> Result<Vec<Domain>, IamRefusal> {
        Ok(self.inner.people()?.domain(&identity.domain_id).cloned().into_iter().collect())
    }
}

impl Inner {
    /// The directory as it is now.
    pub(crate) fn people(&self) -> Result<Arc<People>, AuthRefusal> {
        self.people.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(AuthRefusal::Unavailable)
    }

    /// Writes changes and shows them. Called with `changing` held.
    async fn change(&self, changes: Vec<PeopleChange>, only_when_empty: bool) -> Result<PeopleWritten, StoreError> {
        let mut revoked = Vec::new();
        for change in &changes {
            if let PeopleChange::RemoveTokensOf(user_id) = change {
                revoked.push(user_id.clone());
            }
        }
        let written = self.store.change_people(changes, only_when_empty).await;
        for user_id in &revoked {
            self.tokens.revoked_of(user_id);
        }
        // Also after a failure: the store may have written and only failed to say so.
        let shown = self.reload().await;
        written.and_then(|written| shown.map(|()| written))
    }

    /// Reads the directory; when that fails, nobody is let in until it succeeds. Called with `changing` held.
    pub(crate) async fn reload(&self) -> Result<(), StoreError> {
        let directory = self.store.directory().await;
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        let (people, shown) = match directory {
            Ok(directory) => (Some(Arc::new(People::new(version, directory))), Ok(())),
            Err(cause) => (None, Err(cause)),
        };
        *self.people.write().unwrap_or_else(PoisonError::into_inner) = people;
        self.changed.send_modify(|n| *n += 1);
        shown
    }

    /// Removes tokens that expired long ago, once an hour at most. Failing is no harm: the next hour comes.
    pub(crate) async fn tidy(&self, now: Timestamp) {
        let before = self.tidied_at.load(Ordering::Relaxed);
        if now.as_millis() < before.saturating_add(HOUR_MS) {
            return;
        }
        self.tidied_at.store(now.as_millis(), Ordering::Relaxed);
        self.tokens.forget_expired_by(now);
        if let Err(cause) = self.store.remove_tokens_expired_by(now.plus_millis(-REMEMBERED_MS)).await {
            tracing::warn!(%cause, "expired tokens could not be removed");
        }
    }
}

/// Carries `change` to its end also when whoever asked for it stops waiting: memory must not be left behind the store.
pub(crate) async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|_| Err(StoreError::Engine("the change did not end".to_owned())))
}
