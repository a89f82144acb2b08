//! Notebooks to be stored.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "for tests only, but not a test itself")]

use atelier_core::clock::Timestamp;
use atelier_core::feature::Feature;
use atelier_core::flavor::Flavor;
use atelier_core::hook::Hooks;
use atelier_core::id::{NotebookId, VolumeId};
use atelier_core::image::Image;
use atelier_core::lease::{Grant, Lease, LeaseKind};
use atelier_core::notebook::{LegacyWords, NewNotebook, Notebook, Owner};
use atelier_core::tags::Tags;
use atelier_core::volume::Volume;
use atelier_store::{Commit, Committed, NotebookStore as _, NotebookWrite};
use atelier_store_sqlite::SqliteStore;
use secrecy::SecretString;

use crate::support::Random;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A notebook of one person.
pub(crate) fn sample(name: &str) -> Notebook {
    let hex = |digit: &str| digit.repeat(32);
    Notebook::from(NewNotebook {
        id: NotebookId::generate(NOW, &Random),
        project_id: hex("1").parse().unwrap(),
        owner: Owner {
            user_id: hex("2").parse().unwrap(),
            user_name: "admin".into(),
            domain_id: hex("3").parse().unwrap(),
            domain_name: "account".into(),
        },
        name: name.into(),
        description: String::new(),
        feature: Feature::Notebook,
        tags: Tags::none(),
        flavor: Flavor::defaults().remove(3),
        image: Image::built_in(None),
        volume: Volume::new(VolumeId::generate(NOW, &Random), 5),
        workspace_id: "0".into(),
        lease: Lease::written(NOW, NOW, Grant::Millis(1), LeaseKind::Timing),
        pool: None,
        legacy: LegacyWords::default(),
        hooks: Hooks::default(),
        token: SecretString::from("token"),
        upstream_secret: SecretString::from("upstream"),
        progress: Vec::new(),
        create_at: NOW,
    })
}

/// A commit that inserts it, and nothing else.
pub(crate) fn insertion(notebook: Notebook) -> Commit {
    Commit { notebook: Some(NotebookWrite::Insert(Box::new(notebook))), ..Commit::default() }
}

/// Inserts so many, one commit after the other.
pub(crate) async fn fill(store: &SqliteStore, count: usize) -> Vec<NotebookId> {
    let mut ids = Vec::new();
    for number in 0..count {
        let notebook = sample(&format!("nb-{number}"));
        ids.push(notebook.id);
        assert_eq!(store.commit(insertion(notebook)).await.unwrap(), Committed::Written(0));
    }
    ids
}
