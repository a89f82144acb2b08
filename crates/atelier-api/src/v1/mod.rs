//! The API itself: what is offered of it, and the honest refusal of the rest.

pub(crate) mod clusters;
pub(crate) mod code_lab;
pub(crate) mod create;
pub(crate) mod flavors;
pub(crate) mod hooks;
pub(crate) mod images;
pub(crate) mod lease;
pub(crate) mod lists;
pub(crate) mod not_offered;
pub(crate) mod notebooks;
mod size;
pub(crate) mod tags;
pub(crate) mod update;
