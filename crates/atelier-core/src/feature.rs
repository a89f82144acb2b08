//! Features: what a notebook is for the vendor's books.

use std::fmt;
use std::str::FromStr;

use crate::flavor::Flavor;

/// What a notebook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Feature {
    /// A notebook like any other.
    #[default]
    Notebook,
    /// The free instance: one for each user, in the free flavor only. The contract calls it DEFAULT.
    Free,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 2] = [Self::Notebook, Self::Free];

    /// Whether a notebook of this feature may have the flavor.
    pub const fn allows(self, flavor: &Flavor) -> bool {
        matches!(self, Self::Notebook) || flavor.free
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notebook => "NOTEBOOK",
            Self::Free => "DEFAULT",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Feature {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|feature| feature.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}
