//! Identity: who sends a request, and in which project they act.
//!
//! Two proofs are accepted. A **token**, earned with a password (or with an earlier token) and kept only as a hash. And
//! a **signature**, computed over the request with the secret half of an access key.
//!
//! [`Iam`] is the service. It answers from memory: the directory of people is held whole, tokens are held once they were
//! seen, and every change passes through here on its way to the store, so that what is in memory is never older than
//! what is on disk. This holds as long as one server works on a store; a second one would have to be told of changes.
//!
//! * [`identity`]: who somebody is, once proved. [`refusal`]: the ways to say no.
//! * [`auth_request`]: the body that asks for a token, read member by member.
//! * [`canonical`], [`Iam::authenticate_signature`]: signed requests.
//! * [`Iam::create_key`] and its like: access keys, permanent and temporary. [`Iam::add_account`] and its like: users.
//! * [`Iam::create_key_pair`] and its like: key pairs for SSH.
//! * [`bodies`]: the answers of the identity API, ready to be serialised.
//! * [`first_start`]: how the first administrator comes to be, without a moment in which nobody could get in.

mod accounts;
pub mod auth_request;
mod authenticate;
pub mod bodies;
pub mod canonical;
pub mod first_start;
pub mod identity;
mod issue;
mod key_pairs;
mod keys;
mod listing;
mod lockout;
mod password;
mod people;
mod recorded;
pub mod refusal;
mod service;
mod signature;
mod standing;
#[cfg(test)]
mod testing;
mod text;
mod tokens;

pub use accounts::{Account, NewAccount};
pub use auth_request::AuthRequest;
pub use bodies::Site;
pub use canonical::IncomingRequest;
pub use first_start::{FirstStart, FirstStartError};
pub use identity::{Identity, Proof, Scope};
pub use issue::Issued;
pub use key_pairs::{KeyAlgorithm, KeyFacts, KeySource, MOST_KEY_PAIRS};
pub use keys::{LONGEST_LIFE_S, MOST_KEYS, MOST_TEMPORARY_KEYS, SHORTEST_LIFE_S, TemporaryKey};
pub use listing::{ProjectFilter, ProjectPage};
pub use lockout::{LOCKED_MS, TRIES};
pub use password::{BadCost, HashFailed, PasswordCost};
pub use refusal::{AuthRefusal, IamRefusal};
pub use service::{Iam, IamConfig, OpenError};
pub use signature::MOST_SKEW_MS;
pub use standing::Standing;
