//! What is asked of a notebook again and again, so that it costs no trip to the database: itself, and what is under way
//! on it.
//!
//! A read of one row takes 40 µs of processor time and more, nearly all of it the way to the connection's thread and
//! back; half of what a whole request may cost, and each step of an operation asks twice. So notebooks that were read or
//! written lately are kept here, and all operations that have not ended. The rule is that both can **never be stale**. It
//! rests on every write of them in this process going through one place, and on four steps:
//!
//! * *A change begins* ([`Recent::change`]) before the write is queued: the notebook is forgotten, and while the change
//!   lasts, nothing that was read is kept; who asks is sent to the database.
//! * *It is written* ([`Change::written`]): told by the writer when it is on disk, before anybody is answered and in the
//!   order of the commits. What was written is kept.
//! * *It ends* when the [`Change`] is dropped. The change travels with the job's answer, so that this is after the
//!   commit, whether the caller still waits for it or not. One that ends without a word of how leaves a doubt: what it
//!   was about is read from the database from then on.
//! * *A read is kept* ([`Recent::keep`]) only when no change began or ended since the reader was sent to the database:
//!   what it read might be older than the change. Each shard counts its changes for that.
//!
//! Only notebooks that exist are kept, a fixed number at most; when a shard is full any one of its notebooks goes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;
use atelier_core::operation::Operation;

const SHARDS: usize = 64;
const KEPT_PER_SHARD: usize = 256;

/// The notebooks that were read or written lately, and what is under way. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recent {
    shards: Arc<[Mutex<Shard>]>,
    /// Sends everybody to the database.
    blind: bool,
}

#[derive(Default)]
struct Shard {
    kept: HashMap<NotebookId, Arc<Notebook>>,
    /// The operations that have not ended, in the order in which they were first written.
    unfinished: HashMap<NotebookId, Vec<Operation>>,
    /// Of these nobody knows whether the last write happened.
    doubtful: HashSet<NotebookId>,
    /// How many changes of a notebook are under way.
    changing: HashMap<NotebookId, u32>,
    /// How many changes began or ended.
    turns: u64,
}

/// What a reader is told.
pub(crate) enum Found {
    /// The notebook as it was last committed.
    Here(Arc<Notebook>),
    /// Ask the database; the ticket is for what it answers.
    Ask(Ticket),
}

/// Proof of when a reader was sent to the database.
pub(crate) struct Ticket {
    id: NotebookId,
    turns: u64,
}

/// A change of a notebook, or of what is under way on it; over when dropped.
pub(crate) struct Change {
    recent: Recent,
    id: NotebookId,
    /// Whether anybody knows what became of it.
    settled: AtomicBool,
}

impl Recent {
    /// Knows the operations that have not ended, and no notebook yet.
    pub(crate) fn of(unfinished: Vec<Operation>) -> Self {
        let recent = Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), blind: false };
        for operation in unfinished {
            let id = operation.notebook_id;
            recent.shard(id).unfinished.entry(id).or_default().push(operation);
        }
        recent
    }

    /// The same, but everybody is sent to the database: so that tests reach it.
    pub(crate) fn blind(self) -> Self {
        Self { blind: true, ..self }
    }

    /// The notebook, or a ticket to keep it after it was read.
    pub(crate) fn find(&self, id: NotebookId) -> Found {
        let shard = self.shard(id);
        match shard.kept.get(&id).filter(|_| !self.blind) {
            Some(notebook) => Found::Here(Arc::clone(notebook)),
            None => Found::Ask(Ticket { id, turns: shard.turns }),
        }
    }

    /// The operations on a notebook that have not ended, oldest first; `None` where only the database knows.
    pub(crate) fn unfinished_of(&self, id: NotebookId) -> Option<Vec<Operation>> {
        let shard = self.shard(id);
        let known = !self.blind && !shard.doubtful.contains(&id);
        known.then(|| shard.unfinished.get(&id).cloned().unwrap_or_default())
    }

    /// Both from one moment, where both are known.
    pub(crate) fn both(&self, id: NotebookId) -> Option<(Arc<Notebook>, Vec<Operation>)> {
        let shard = self.shard(id);
        let known = !self.blind && !shard.doubtful.contains(&id);
        let notebook = shard.kept.get(&id).filter(|_| known)?;
        Some((Arc::clone(notebook), shard.unfinished.get(&id).cloned().unwrap_or_default()))
    }

    /// Keeps what the database answered to the holder of this ticket, unless it may be old by now.
    pub(crate) fn keep(&self, ticket: &Ticket, notebook: &Notebook) {
        let mut shard = self.shard(ticket.id);
        if shard.turns != ticket.turns || shard.changing.contains_key(&ticket.id) {
            return;
        }
        shard.make_room();
        shard.kept.insert(ticket.id, Arc::new(notebook.clone()));
    }

    /// Begins a change.
    pub(crate) fn change(&self, id: NotebookId) -> Change {
        let mut shard = self.shard(id);
        shard.turns += 1;
        shard.kept.remove(&id);
        *shard.changing.entry(id).or_default() += 1;
        Change { recent: self.clone(), id, settled: AtomicBool::new(false) }
    }

    fn shard(&self, id: NotebookId) -> MutexGuard<'_, Shard> {
        // The last byte of an id is random.
        let place = usize::from(id.as_uuid().as_bytes()[15]) % SHARDS;
        // Nothing that is done under the lock can stop halfway.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Takes over an operation as it was just written.
    fn follow(&mut self, operation: &Operation) {
        let of = self.unfinished.entry(operation.notebook_id).or_default();
        let known = of.iter_mut().find(|known| known.id == operation.id);
        match (known, operation.state.is_ended()) {
            (Some(known), false) => known.clone_from(operation),
            (None, false) => of.push(operation.clone()),
            (_, true) => of.retain(|known| known.id != operation.id),
        }
        if of.is_empty() {
            self.unfinished.remove(&operation.notebook_id);
        }
    }

    fn make_room(&mut self) {
        if self.kept.len() < KEPT_PER_SHARD {
            return;
        }
        if let Some(any) = self.kept.keys().next().copied() {
            self.kept.remove(&any);
        }
    }
}

impl Change {
    /// It is on disk: the notebook as it is from now on, where one was written and is there, and the operations that were.
    /// What is said of others is for their changes.
    pub(crate) fn written<'o>(
        &self,
        notebook: Option<&Arc<Notebook>>,
        operations: impl IntoIterator<Item = &'o Operation>,
    ) {
        let mut shard = self.recent.shard(self.id);
        match notebook.filter(|notebook| notebook.id == self.id) {
            Some(notebook) => {
                shard.make_room();
                shard.kept.insert(self.id, Arc::clone(notebook));
            }
            // The write before this one may have been told only now, after this one began and had it forgotten.
            None => drop(shard.kept.remove(&self.id)),
        }
        for operation in operations.into_iter().filter(|operation| operation.notebook_id == self.id) {
            shard.follow(operation);
        }
        self.nothing_more();
    }

    /// It was refused, and nothing was written; or everything that was has been told.
    pub(crate) fn nothing_more(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut shard = self.recent.shard(self.id);
        shard.turns += 1;
        if !self.settled.load(Ordering::Relaxed) {
            shard.kept.remove(&self.id);
            shard.doubtful.insert(self.id);
        }
        match shard.changing.get_mut(&self.id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                shard.changing.remove(&self.id);
            }
        }
    }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recent")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use atelier_core::clock::{Entropy, Timestamp};
    use atelier_core::feature::Feature;
    use atelier_core::flavor::Flavor;
    use atelier_core::hook::Hooks;
    use atelier_core::id::VolumeId;
    use atelier_core::image::{BUILT_IN, Image};
    use atelier_core::lease::{Grant, Lease, LeaseKind};
    use atelier_core::notebook::{LegacyWords, NewNotebook, Owner};
    use atelier_core::operation::{OperationKind, OperationState};
    use atelier_core::tags::Tags;
    use atelier_core::volume::Volume;
    use secrecy::SecretString;

    use super::*;

    pub(crate) struct Random;

    impl Entropy for Random {
        fn fill(&self, out: &mut [u8]) {
            rand::RngCore::fill_bytes(&mut rand::rng(), out);
        }
    }

    pub(crate) fn notebook(generation: u64) -> Notebook {
        let (now, hex) = (Timestamp::from_millis(0), "0".repeat(32));
        let owner = Owner {
            user_id: hex.parse().unwrap(),
            user_name: String::new(),
            domain_id: hex.parse().unwrap(),
            domain_name: String::new(),
        };
        let image = Image {
            id: BUILT_IN,
            name: String::new(),
            tag: String::new(),
            namespace: String::new(),
            description: String::new(),
            swr_path: String::new(),
            size_bytes: None,
        };
        let mut notebook = Notebook::from(NewNotebook {
            id: NotebookId::generate(now, &Random),
            project_id: hex.parse().unwrap(),
            owner,
            name: "nb".into(),
            description: String::new(),
            feature: Feature::Notebook,
            tags: Tags::none(),
            flavor: Flavor::defaults().remove(0),
            image,
            volume: Volume::new(VolumeId::generate(now, &Random), 5),
            workspace_id: "0".into(),
            lease: Lease::written(now, now, Grant::Never, LeaseKind::Timing),
            pool: None,
            legacy: LegacyWords::default(),
            hooks: Hooks::default(),
            token: SecretString::from("token"),
            upstream_secret: SecretString::from("upstream"),
            progress: Vec::new(),
            create_at: now,
        });
        notebook.generation = generation;
        notebook
    }

    fn kept(recent: &Recent, id: NotebookId) -> Option<u64> {
        match recent.find(id) {
            Found::Here(notebook) => Some(notebook.generation),
            Found::Ask(_) => None,
        }
    }

    fn ticket(recent: &Recent, id: NotebookId) -> Ticket {
        match recent.find(id) {
            Found::Ask(ticket) => ticket,
            Found::Here(_) => panic!("kept already"),
        }
    }

    #[test]
    fn what_was_read_is_kept_until_it_changes() {
        let (recent, notebook) = (Recent::of(Vec::new()), notebook(7));
        assert_eq!(kept(&recent, notebook.id), None);
        recent.keep(&ticket(&recent, notebook.id), &notebook);
        assert_eq!(kept(&recent, notebook.id), Some(7));
        let change = recent.change(notebook.id);
        assert_eq!(kept(&recent, notebook.id), None);
        drop(change);
        assert_eq!(kept(&recent, notebook.id), None);
    }

    #[test]
    fn a_read_from_before_a_change_is_not_kept_during_or_after_it() {
        let (recent, notebook) = (Recent::of(Vec::new()), notebook(7));
        let before = ticket(&recent, notebook.id);
        let change = recent.change(notebook.id);
        recent.keep(&before, &notebook);
        assert_eq!(kept(&recent, notebook.id), None);
        drop(change);
        recent.keep(&before, &notebook);
        assert_eq!(kept(&recent, notebook.id), None);
    }

    #[test]
    fn a_read_from_within_a_change_is_not_kept_during_or_after_it() {
        let (recent, notebook) = (Recent::of(Vec::new()), notebook(7));
        let change = recent.change(notebook.id);
        let within = ticket(&recent, notebook.id);
        recent.keep(&within, &notebook);
        assert_eq!(kept(&recent, notebook.id), None);
        drop(change);
        recent.keep(&within, &notebook);
        assert_eq!(kept(&recent, notebook.id), None);
        recent.keep(&ticket(&recent, notebook.id), &notebook);
        assert_eq!(kept(&recent, notebook.id), Some(7));
    }

    #[test]
    fn of_two_changes_both_have_to_end() {
        let (recent, notebook) = (Recent::of(Vec::new()), notebook(7));
        let changes = [recent.change(notebook.id), recent.change(notebook.id)];
        for change in changes {
            recent.keep(&ticket(&recent, notebook.id), &notebook);
            assert_eq!(kept(&recent, notebook.id), None);
            drop(change);
        }
        recent.keep(&ticket(&recent, notebook.id), &notebook);
        assert_eq!(kept(&recent, notebook.id), Some(7));
    }

    #[test]
    fn a_fixed_number_is_kept() {
        let recent = Recent::of(Vec::new());
        for _ in 0..2 * SHARDS * KEPT_PER_SHARD {
            let notebook = notebook(0);
            recent.keep(&ticket(&recent, notebook.id), &notebook);
            assert_eq!(kept(&recent, notebook.id), Some(0), "the newest is always kept");
        }
        for shard in recent.shards.iter() {
            assert!(shard.lock().unwrap().kept.len() <= KEPT_PER_SHARD);
        }
    }

    #[test]
    fn what_was_written_is_kept_from_then_on_also_beside_a_change_that_follows() {
        let (recent, mut notebook) = (Recent::of(Vec::new()), notebook(7));
        let (first, second) = (recent.change(notebook.id), recent.change(notebook.id));
        first.written(Some(&Arc::new(notebook.clone())), []);
        drop(first);
        assert_eq!(kept(&recent, notebook.id), Some(7));
        notebook.generation = 8;
        second.written(Some(&Arc::new(notebook.clone())), []);
        drop(second);
        assert_eq!(kept(&recent, notebook.id), Some(8));
        let refused = recent.change(notebook.id);
        refused.nothing_more();
        drop(refused);
        assert_eq!(kept(&recent, notebook.id), None);
        assert_eq!(recent.unfinished_of(notebook.id), Some(Vec::new()));
    }

    /// A removal may begin after the write before it is on disk, and before that is told.
    #[test]
    fn what_was_removed_is_not_kept_when_the_write_before_it_is_told_late() {
        let (recent, notebook) = (Recent::of(Vec::new()), notebook(7));
        let (update, removal) = (recent.change(notebook.id), recent.change(notebook.id));
        update.written(Some(&Arc::new(notebook.clone())), []);
        removal.written(None, []);
        drop((update, removal));
        assert_eq!(kept(&recent, notebook.id), None);
    }

    #[test]
    fn operations_are_known_until_they_end_and_never_after_a_doubt() {
        let notebook = notebook(7);
        let at = Timestamp::from_millis(0);
        let make = |kind| {
            let id = atelier_core::id::OperationId::generate(at, &Random);
            Operation::new(id, notebook.id, kind, atelier_core::caller::Origin::system(), "", at)
        };
        let (mut old, new) = (make(OperationKind::Create), make(OperationKind::Delete));
        let recent = Recent::of(vec![old.clone()]);
        let change = recent.change(notebook.id);
        assert_eq!(recent.unfinished_of(notebook.id), Some(vec![old.clone()]));
        old.error = Some("why".into());
        change.written(None, [&new, &old]);
        drop(change);
        assert_eq!(recent.unfinished_of(notebook.id), Some(vec![old.clone(), new.clone()]));
        old.state = OperationState::Cancelled;
        let change = recent.change(notebook.id);
        change.written(None, [&old]);
        drop(change);
        assert_eq!(recent.unfinished_of(notebook.id), Some(vec![new]));
        assert_eq!(recent.clone().blind().unfinished_of(notebook.id), None);
        drop(recent.change(notebook.id));
        assert_eq!(recent.unfinished_of(notebook.id), None);
        assert_eq!(kept(&recent, notebook.id), None);
    }
}
