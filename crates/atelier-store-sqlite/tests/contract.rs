//! The store's contract, kept by `SQLite`.

mod support;

use support::empty_store;

atelier_store::notebook_store_contract!(empty_store);
