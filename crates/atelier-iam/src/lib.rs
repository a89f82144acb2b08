//! atelier-iam
