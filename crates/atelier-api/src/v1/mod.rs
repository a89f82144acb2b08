//! The API itself: ten operations, and the honest refusal of the rest.

pub(crate) mod create;
pub(crate) mod flavors;
pub(crate) mod images;
pub(crate) mod lease;
pub(crate) mod not_offered;
pub(crate) mod notebooks;
