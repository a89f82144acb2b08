//! The API as clients see it: requests go in, answers come out. Behind it are the real engine on a real store, with the
//! simulated runtime and a clock that the tests own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod changes;
mod clusters;
mod contract;
mod credentials;
mod differences;
mod document;
mod every_code;
mod every_field;
mod filters;
mod gpus;
mod house;
mod key_pairs;
mod keys;
mod legacy;
mod legacy_refusals;
mod lists;
mod model;
mod model_property;
mod pools;
mod reference;
mod refusals;
mod requests;
mod signer;
mod volumes;
