//! Copies that are made while others write.

mod sample;
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use atelier_store::NotebookStore as _;
use atelier_store_sqlite::{copy, examine};
use sample::{fill, insertion, sample};
use support::{empty_store, open};
use tempfile::TempDir;

/// Under the load of 64 tasks: what was answered before the copy began is in it, and it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_under_load_has_all_that_was_answered_before() {
    let (store, folder) = empty_store().await;
    let (store, stop, count) = (Arc::new(store), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (store, stop, count) = (store.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                let mut answered = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let notebook = sample(&format!("task-{task}"));
                    let id = notebook.id;
                    store.commit(insertion(notebook)).await.unwrap();
                    answered.push((count.fetch_add(1, Ordering::SeqCst), id));
                }
                answered
            })
        })
        .collect();
    let target = TempDir::new().unwrap();
    let mut copies = Vec::new();
    for round in 0..3 {
        while count.load(Ordering::SeqCst) < 200 * (round + 1) {
            tokio::task::yield_now().await;
        }
        let before = count.load(Ordering::SeqCst);
        let folder_of_copy = target.path().join(round.to_string());
        fs::create_dir(&folder_of_copy).unwrap();
        let made = copy(&folder.path().join("atelier.db"), &folder_of_copy.join("atelier.db")).await.unwrap();
        assert!(made.notebooks >= before);
        copies.push((before, folder_of_copy));
    }
    stop.store(true, Ordering::SeqCst);
    let mut answered = Vec::new();
    for task in tasks {
        answered.extend(task.await.unwrap());
    }
    for (before, folder_of_copy) in copies {
        let copy = open(&folder_of_copy).await;
        for (_, id) in answered.iter().filter(|(number, _)| *number < before) {
            assert!(copy.notebook(*id).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_damaged_copy_does_not_pass_for_whole() {
    let (store, folder) = empty_store().await;
    fill(&store, 100).await;
    let file = folder.path().join("copy.db");
    let copied = copy(&folder.path().join("atelier.db"), &file).await.unwrap();
    assert_eq!(copied.notebooks, 100);
    assert_eq!(examine(&file).await.unwrap(), copied);
    assert!(copy(&folder.path().join("atelier.db"), &file).await.is_err(), "a copy overwrites nothing");

    let whole = fs::read(&file).unwrap();
    let page = whole.chunks(4096).position(|page| page[0] == 13 && page[4] > 1).unwrap();
    let mut damaged = whole.clone();
    damaged[page * 4096 + 8] ^= 0x40;
    fs::write(&file, damaged).unwrap();
    assert!(examine(&file).await.unwrap_err().to_string().contains("damaged"));
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    examine(&file).await.unwrap_err();
}
