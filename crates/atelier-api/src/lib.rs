//! atelier-api
