//! atelier-gateway
