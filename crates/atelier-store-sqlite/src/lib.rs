//! atelier-store-sqlite
