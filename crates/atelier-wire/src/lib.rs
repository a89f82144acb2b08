//! atelier-wire
