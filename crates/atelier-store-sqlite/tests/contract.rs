//! The store's contract, kept by `SQLite`.

mod support;

use support::empty_store;

atelier_store::notebook_store_contract!(empty_store);

/// What is kept in memory promises what is on disk, and the other way round.
mod by_rows {
    use atelier_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn empty_store() -> (SqliteStore, TempDir) {
        let (store, folder) = super::empty_store().await;
        (store.by_rows(), folder)
    }

    atelier_store::notebook_store_contract!(empty_store);
}
