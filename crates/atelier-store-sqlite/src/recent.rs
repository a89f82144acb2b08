//! Notebooks that were read lately, so that showing one costs no trip to the database.
//!
//! A read of one row takes 40 µs of processor time and more, nearly all of it the way to the connection's thread and
//! back; half of what a whole request may cost. So notebooks that were read are kept here, and the rule is that they
//! can **never be stale**. It rests on every write of a notebook in this process going through one place, and on
//! three steps:
//!
//! * *A change begins* ([`Recent::change`]) before the write is queued: the notebook is forgotten, and while the change
//!   lasts, it is not kept again; who asks is sent to the database.
//! * *It ends* when the [`Change`] is dropped. The change travels with the job's answer, so that this is after the
//!   commit, whether the caller still waits for it or not.
//! * *A read is kept* ([`Recent::keep`]) only when no change began or ended since the reader was sent to the database:
//!   what it read might be older than the change. Each shard counts its changes for that.
//!
//! Only notebooks that exist are kept, a fixed number at most; when a shard is full any one of its notebooks goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atelier_core::id::NotebookId;
use atelier_core::notebook::Notebook;

const SHARDS: usize = 64;
const KEPT_PER_SHARD: usize = 256;

/// The notebooks that were read lately. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recent {
    shards: Arc<[Mutex<Shard>]>,
}

#[derive(Default)]
struct Shard {
    kept: HashMap<NotebookId, Arc<Notebook>>,
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

/// A change of a notebook that is under way; over when dropped.
pub(crate) struct Change {
    recent: Recent,
    id: NotebookId,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The notebook, or a ticket to keep it after it was read.
    pub(crate) fn find(&self, id: NotebookId) -> Found {
        let shard = self.shard(id);
        match shard.kept.get(&id) {
            Some(notebook) => Found::Here(Arc::clone(notebook)),
            None => Found::Ask(Ticket { id, turns: shard.turns }),
        }
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
        Change { recent: self.clone(), id }
    }

    fn shard(&self, id: NotebookId) -> MutexGuard<'_, Shard> {
        // The last byte of an id is random.
        let place = usize::from(id.as_uuid().as_bytes()[15]) % SHARDS;
        // Nothing that is done under the lock can stop halfway.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn make_room(&mut self) {
        if self.kept.len() < KEPT_PER_SHARD {
            return;
        }
        if let Some(any) = self.kept.keys().next().copied() {
            self.kept.remove(&any);
        }
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut shard = self.recent.shard(self.id);
        shard.turns += 1;
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
mod tests {
    use atelier_core::clock::{Entropy, Timestamp};
    use atelier_core::feature::Feature;
    use atelier_core::flavor::Flavor;
    use atelier_core::id::VolumeId;
    use atelier_core::image::{BUILT_IN, Image};
    use atelier_core::lease::{Grant, Lease, LeaseKind};
    use atelier_core::notebook::{LegacyWords, NewNotebook, Owner};
    use atelier_core::tags::Tags;
    use atelier_core::volume::Volume;
    use secrecy::SecretString;

    use super::*;

    struct Random;

    impl Entropy for Random {
        fn fill(&self, out: &mut [u8]) {
            rand::RngCore::fill_bytes(&mut rand::rng(), out);
        }
    }

    fn notebook(generation: u64) -> Notebook {
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
            legacy: LegacyWords::default(),
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
        let (recent, notebook) = (Recent::new(), notebook(7));
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
        let (recent, notebook) = (Recent::new(), notebook(7));
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
        let (recent, notebook) = (Recent::new(), notebook(7));
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
        let (recent, notebook) = (Recent::new(), notebook(7));
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
        let recent = Recent::new();
        for _ in 0..2 * SHARDS * KEPT_PER_SHARD {
            let notebook = notebook(0);
            recent.keep(&ticket(&recent, notebook.id), &notebook);
            assert_eq!(kept(&recent, notebook.id), Some(0), "the newest is always kept");
        }
        for shard in recent.shards.iter() {
            assert!(shard.lock().unwrap().kept.len() <= KEPT_PER_SHARD);
        }
    }
}
