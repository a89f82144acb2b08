//! Typed identifiers, one kind per thing, so that a project's id can never stand where a notebook's belongs.
//!
//! Notebooks, volumes, images, operations and events carry `UUIDv7` values (ordered by the time they were made);
//! people, projects and domains carry 32 lower-case hexadecimal digits, as identity services do.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::clock::{Entropy, Timestamp};

/// A text is not an id of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct NotAnId(&'static str);

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, ordered by `now`.
            pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let mut random = [0; 10];
                entropy.fill(&mut random);
                let ms = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
            }

            /// The id with this value.
            pub const fn from_uuid(value: Uuid) -> Self {
                Self(value)
            }

            /// The value.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            /// Reads the hyphenated form only, in any letter case.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                if text.len() != 36 {
                    return Err(NotAnId("a UUID"));
                }
                Uuid::try_parse(text).map(Self).map_err(|_| NotAnId("a UUID"))
            }
        }
    )*};
}

macro_rules! hex_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// A new random id.
            pub fn generate(entropy: &dyn Entropy) -> Self {
                let mut random = [0; 16];
                entropy.fill(&mut random);
                Self(format!("{:032x}", u128::from_be_bytes(random)).into())
            }

            /// The 32 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == 32 && text.bytes().all(hex) {
                    Ok(Self(text.into()))
                } else {
                    Err(NotAnId("32 lower-case hexadecimal digits"))
                }
            }
        }
    )*};
}

uuid_id! {
    /// A notebook.
    NotebookId
    /// A volume.
    VolumeId
    /// An image.
    ImageId
    /// A durable operation on a notebook.
    OperationId
    /// An event in a notebook's history.
    EventId
}

hex_id! {
    /// A user.
    UserId
    /// A project.
    ProjectId
    /// A domain: the account that users and projects belong to.
    DomainId
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn a_notebook_id_carries_its_time_and_reads_back() {
        let early = NotebookId::generate(Timestamp::from_millis(1), &Ones);
        let late = NotebookId::generate(Timestamp::from_millis(2), &Ones);
        assert!(early < late);
        assert_eq!(early.as_uuid().get_version_num(), 7);
        assert_eq!(early.to_string().parse(), Ok(early));
    }

    #[test]
    fn other_spellings_of_ids_are_refused() {
        assert!("0197f2d04ba47bbf8b1d4d3a5d4f0a10".parse::<NotebookId>().is_err());
        assert!("{0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10}".parse::<NotebookId>().is_err());
        assert!("ABCDEF00000000000000000000000000".parse::<UserId>().is_err());
        assert!("abc".parse::<ProjectId>().is_err());
    }

    #[test]
    fn a_user_id_has_32_digits() {
        assert_eq!(UserId::generate(&Ones).as_str(), "f".repeat(32));
    }
}
