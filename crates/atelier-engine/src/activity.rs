//! Looking at notebooks, so that idle leases know what to count from.
//!
//! Every running notebook with an idle lease is looked at every so often: its notebook server is asked for kernels and
//! terminals ([`Asker`]), its runtime for what it takes and runs, and the gateway has told meanwhile when somebody did
//! something in it. [`atelier_core::activity`] makes a verdict of that. What is known lives in memory; the last activity
//! is written to the lease when it has moved by a good part of the grant, so that the store is never far behind and is
//! not written at every look.
//!
//! A restart forgets what was seen. A notebook that nothing is known of counts as active at that moment, so no restart
//! stops anything that was computing while nobody looked. And no idle lease ends on an old look: right before the stop
//! there is one more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use atelier_core::activity::{Answer, Baseline, Kernel, Look, News, Report, Rules, Terminal, Verdict, Watch};
use atelier_core::caller::Origin;
use atelier_core::id::{ImageId, NotebookId};
use atelier_core::lease::{Grant, Lease};
use atelier_core::notebook::Notebook;
use atelier_core::observe::IdleVerdict;
use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;
use atelier_core::{Caller, Timestamp};
use atelier_runtime::Usage;
use atelier_store::Commit;
use futures_util::StreamExt as _;
use secrecy::SecretString;

use crate::Engine;
use crate::time::Timekeeper as _;
use crate::write::Change;

/// How long a notebook server, and a runtime, may take to answer.
pub(crate) const ASK_LIMIT_MS: i64 = 5_000;
/// How many notebooks are looked at at a time.
const AT_ONCE: usize = 16;
/// The least that activity moves a lease by before it is written, in milliseconds.
const LEAST_WRITTEN_MS: i64 = 60_000;
/// The part of the grant that it moves it by, as one in so many.
const PART_WRITTEN: i64 = 20;

/// How notebooks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityConfig {
    /// How often, in milliseconds.
    pub period_ms: i64,
    /// By what a verdict is found.
    pub rules: Rules,
}

impl Default for ActivityConfig {
    fn default() -> Self {
        Self { period_ms: 30_000, rules: Rules::default() }
    }
}

/// What a notebook server says of itself.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its kernels.
    pub kernels: Answer<Vec<Kernel>>,
    /// Its terminals.
    pub terminals: Answer<Vec<Terminal>>,
}

impl Asked {
    /// It says nothing, for this reason.
    pub fn nothing(why: &str) -> Self {
        Self { kernels: Err(why.to_owned()), terminals: Err(why.to_owned()) }
    }
}

/// Asks notebook servers what they do. Its asking must not count as activity with them.
#[async_trait]
pub trait Asker: Send + Sync {
    /// Asks the server of `id`, which knows the asker by `secret`.
    async fn ask(&self, id: NotebookId, secret: &SecretString) -> Asked;
}

/// The activity of one of the caller's notebooks.
#[derive(Clone, Debug)]
pub struct NotebookActivity {
    /// What is known.
    pub report: Report,
    /// Its lease, as that activity leaves it.
    pub lease: Lease,
}

/// What is known of all notebooks' activity.
#[derive(Default)]
pub(crate) struct Activities {
    asker: OnceLock<Arc<dyn Asker>>,
    watches: Mutex<HashMap<NotebookId, Watch>>,
    /// When somebody last did something, in milliseconds since 1970: written at every message, so no lock is held.
    people: RwLock<HashMap<NotebookId, AtomicI64>>,
    baselines: Mutex<HashMap<(ImageId, String), Baseline>>,
}

impl Activities {
    pub(crate) fn watches(&self) -> MutexGuard<'_, HashMap<NotebookId, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was just committed: what runs with an idle lease is watched, what runs no more is forgotten.
    pub(crate) fn follow(&self, notebook: &Notebook, now: Timestamp) {
        match notebook.status() {
            Status::Running if notebook.lease.follows_activity() => {
                self.watches().entry(notebook.id).or_insert_with(|| Watch::beginning(now));
            }
            Status::Running | Status::Snapshotting => {}
            _ => {
                self.watches().remove(&notebook.id);
                self.people.write().unwrap_or_else(PoisonError::into_inner).remove(&notebook.id);
            }
        }
    }

    /// The lease as activity leaves it at this moment.
    pub(crate) fn on(&self, id: NotebookId, lease: Lease) -> Lease {
        if !lease.follows_activity() {
            return lease;
        }
        let lease = self.watches().get(&id).map_or(lease, |watch| watch.on(lease));
        self.person_at(id).map_or(lease, |at| lease.active_at(at))
    }

    fn person_at(&self, id: NotebookId) -> Option<Timestamp> {
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        people.get(&id).map(|at| Timestamp::from_millis(at.load(Ordering::Relaxed)))
    }

    fn person(&self, id: NotebookId, now: Timestamp) {
        if let Some(at) = self.people.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            at.store(now.as_millis(), Ordering::Relaxed);
            return;
        }
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        people.insert(id, AtomicI64::new(now.as_millis()));
    }

    fn watched(&self) -> Vec<NotebookId> {
        self.watches().keys().copied().collect()
    }

    /// Takes a look into account, unless the notebook is not watched any more.
    fn take(&self, notebook: &Notebook, look: &Look, rules: &Rules) -> Option<(IdleVerdict, Option<News>)> {
        let mut baselines = self.baselines.lock().unwrap_or_else(PoisonError::into_inner);
        let baseline = baselines.entry((notebook.image.id, notebook.flavor.id.clone())).or_default();
        let mut watches = self.watches();
        let watch = watches.get_mut(&notebook.id)?;
        let news = watch.look(look, rules, *baseline);
        if let Some(millis) = watch.idle_cpu(rules) {
            baseline.learn(millis);
        }
        Some((watch.verdict().into(), news))
    }
}

/// For how many percent of the time each GPU was busy; all of them have to say so.
fn gpu_percents(usage: &Usage) -> Answer<Vec<u32>> {
    let busy = usage.gpus.iter().map(|gpu| gpu.busy_percent.ok_or("the driver does not say how busy a GPU is"));
    busy.collect::<Result<_, _>>().map_err(str::to_owned)
}

impl Engine {
    /// Names who asks notebook servers. Until then kernels and terminals are unknown, which is not idle.
    pub fn ask_with(&self, asker: Arc<dyn Asker>) {
        if self.inner.activities.asker.set(asker).is_err() {
            tracing::warn!("notebook servers are asked by the first asker that was named");
        }
    }

    /// Somebody did something in this notebook just now. Cheap: it may be said at every message.
    pub fn person_worked(&self, id: NotebookId) {
        self.inner.activities.person(id, self.now());
    }

    /// The notebook with its lease as activity leaves it.
    pub(crate) fn with_activity(&self, mut notebook: Notebook) -> Notebook {
        if notebook.status() == Status::Running {
            notebook.lease = self.inner.activities.on(notebook.id, notebook.lease);
        }
        notebook
    }

    /// Looks at one of the caller's running notebooks, whatever its lease, and says what is known.
    pub async fn activity(&self, caller: &Caller, id: NotebookId) -> Result<NotebookActivity, Refusal> {
        let notebook = self.show(caller, id).await?;
        let not_running = |status: Status| {
            Refusal::new(Code::NotRunning, format!("notebook is {status}; only one that is RUNNING has activity"))
        };
        if notebook.status() != Status::Running {
            return Err(not_running(notebook.status()));
        }
        self.inner.activities.watches().entry(id).or_insert_with(|| Watch::beginning(self.now()));
        self.look(id).await;
        let notebook = self.show(caller, id).await?;
        let report = self.inner.activities.watches().get(&id).and_then(Watch::report);
        let report = report.ok_or_else(|| not_running(notebook.status()))?;
        Ok(NotebookActivity { report, lease: notebook.lease })
    }

    pub(crate) fn spawn_activity(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let stopping = engine.inner.stopping.clone();
            loop {
                let next = engine.now().plus_millis(engine.inner.config.activity.period_ms);
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = engine.inner.time.sleep_until(next) => {}
                }
                engine.look_around().await;
            }
        });
    }

    /// Looks once at every running notebook with an idle lease.
    pub async fn look_around(&self) {
        let watched = futures_util::stream::iter(self.inner.activities.watched());
        watched.for_each_concurrent(AT_ONCE, |id| self.look_if_it_matters(id)).await;
    }

    async fn look_if_it_matters(&self, id: NotebookId) {
        if let Ok(Some(notebook)) = self.inner.store.notebook(id).await
            && notebook.lease.follows_activity()
        {
            self.look(id).await;
        }
    }

    /// Looks at a notebook that is about to be stopped by an idle lease: what was found the last time may be old.
    pub(crate) async fn look_before_stop(&self, id: NotebookId) {
        if let Ok(Some(notebook)) = self.inner.store.notebook(id).await
            && notebook.lease.follows_activity()
            && self.with_activity(notebook).lease.is_over(self.now())
        {
            self.look(id).await;
        }
    }

    /// Looks at a notebook once, and follows what was found. Nothing comes of it while the engine shuts down.
    async fn look(&self, id: NotebookId) {
        let Ok(Some(notebook)) = self.inner.store.notebook(id).await else { return };
        if notebook.status() != Status::Running {
            return;
        }
        let Some(look) = self.inner.stopping.run_until_cancelled(self.find_out(&notebook)).await else { return };
        let taken = self.inner.activities.take(&notebook, &look, &self.inner.config.activity.rules);
        let Some((verdict, news)) = taken else { return };
        if notebook.lease.follows_activity() {
            self.watcher().idle_verdict(verdict);
            if let Some(news) = news {
                self.tell(&notebook, news).await;
            }
            self.write_activity(&notebook).await;
        }
    }

    async fn find_out(&self, notebook: &Notebook) -> Look {
        let (asked, usage) = tokio::join!(self.ask(notebook), self.usage(notebook.id));
        let cpu_micros = usage.as_ref().map(|usage| u64::try_from(usage.cpu.as_micros()).unwrap_or(u64::MAX));
        Look {
            at: self.now(),
            kernels: asked.kernels,
            terminals: asked.terminals,
            person_at: self.inner.activities.person_at(notebook.id),
            cpu_micros: cpu_micros.map_err(Clone::clone),
            gpu_percents: usage.as_ref().map_err(Clone::clone).and_then(gpu_percents),
            foreground: usage.map(|usage| usage.foreground),
        }
    }

    async fn ask(&self, notebook: &Notebook) -> Asked {
        let Some(asker) = self.inner.activities.asker.get() else {
            return Asked::nothing("nobody asks notebook servers here");
        };
        tokio::select! {
            biased;
            answer = asker.ask(notebook.id, &notebook.upstream_secret) => answer,
            () = self.pass(ASK_LIMIT_MS) => Asked::nothing("the notebook server does not answer in time"),
        }
    }

    async fn usage(&self, id: NotebookId) -> Answer<Usage> {
        tokio::select! {
            biased;
            usage = self.inner.runtime.usage(id) => usage.map_err(|e| e.to_string()),
            () = self.pass(ASK_LIMIT_MS) => Err("the runtime does not answer in time".into()),
        }
    }

    /// Writes into the notebook's history that it cannot be asked, and counts as active all the same, or no more.
    async fn tell(&self, notebook: &Notebook, news: News) {
        let minutes = self.inner.config.activity.rules.unknown_ceiling_ms / 60_000;
        let (what, why) = match news {
            News::UnknownBegan(why) => {
                ("activity.unknown", format!("{why}; this counts as activity for at most {minutes} min"))
            }
            News::CeilingPassed(why) => {
                ("activity.unknown-ceiling", format!("{why}, for {minutes} min; it counts as activity no more"))
            }
        };
        tracing::warn!(notebook = %notebook.id, "{what} of notebook {}: {why}", notebook.id);
        let events = vec![self.event(notebook, &Origin::system(), what, why)];
        if let Err(error) = self.inner.store.commit(Commit { events, ..Commit::default() }).await {
            tracing::error!(notebook = %notebook.id, "an event of notebook {} is lost: {error}", notebook.id);
        }
    }

    /// Writes the last activity into the lease when it has moved it by enough.
    async fn write_activity(&self, seen: &Notebook) {
        let Grant::Millis(grant) = seen.lease.grant() else { return };
        let moved =
            |lease: Lease| self.inner.activities.on(seen.id, lease).counts_from().millis_since(lease.counts_from());
        if moved(seen.lease) < LEAST_WRITTEN_MS.max(grant / PART_WRITTEN) {
            return;
        }
        let written = self
            .change(seen.id, |notebook| {
                if notebook.status() != Status::Running || moved(notebook.lease) <= 0 {
                    return Err(Refusal::new(Code::Conflict, "there is no activity to be written"));
                }
                Ok(Change::of(self.with_activity(notebook)))
            })
            .await;
        if let Err(refusal) = written {
            tracing::debug!(notebook = %seen.id, "the activity of notebook {} is not written: {refusal}", seen.id);
        }
    }

    /// Why the lease of this notebook ends now, with the figures.
    pub(crate) fn why_it_ends(&self, notebook: &Notebook, now: Timestamp) -> String {
        let lease = notebook.lease;
        let granted = lease.grant().as_wire();
        if !lease.follows_activity() {
            let at = lease.update_at().as_millis();
            return format!("the lease is over: {granted} ms were granted at {at}, type {}", lease.kind());
        }
        let idle_ms = now.millis_since(lease.counts_from());
        let watches = self.inner.activities.watches();
        let nobody_knows = || "nothing is known of its activity".to_owned();
        let figures = watches.get(&notebook.id).map_or_else(nobody_knows, |watch| match watch.verdict() {
            Verdict::Unknown(why) => format!("not known: {}; {}", why.join(", "), watch.figures(now)),
            Verdict::Active(_) | Verdict::Idle(_) => watch.figures(now),
        });
        format!("idle for {idle_ms} ms; {granted} ms were granted, type {}; {figures}", lease.kind())
    }
}
