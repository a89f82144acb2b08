//! The store's contract, kept by `SQLite`.

mod support;

use support::empty_store;

atelier_store::notebook_store_contract!(empty_store);

/// Lists made from the rows promise what lists from memory do.
mod by_rows {
    use atelier_store_sqlite::SqliteStore;
    use tempfile::TempDir;

    async fn empty_store() -> (SqliteStore, TempDir) {
        let (store, folder) = super::empty_store().await;
        (store.listing_by_rows(), folder)
    }

    atelier_store::notebook_store_contract! { @cases empty_store:
        a_list_follows_each_filter
        a_list_searches_every_text_and_every_tag
        ties_go_by_the_further_keys
        a_name_is_searched_for_literally
        lists_are_sorted_by_each_key_in_both_directions
        pages_add_up_to_the_whole
        a_list_follows_every_change_at_once
    }
}
