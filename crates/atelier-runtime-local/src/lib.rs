//! atelier-runtime-local
