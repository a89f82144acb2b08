//! How full a volume is, and what of that people are told.
//!
//! A volume has two shares that can be used up, each by itself: bytes, and inodes, of which every file takes one. People
//! are told when the fuller of the two rises over a mark, once for each mark until it has fallen below it again.

use std::fmt;

/// Something that can be used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How much of it is used.
    pub used: u64,
    /// How much there is.
    pub total: u64,
}

impl Share {
    /// The used part in hundredths, rounded down.
    pub fn percent(self) -> u64 {
        match u128::from(self.total) {
            0 => 0,
            total => u64::try_from(u128::from(self.used) * 100 / total).unwrap_or(u64::MAX),
        }
    }
}

/// How full a volume is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Its bytes.
    pub bytes: Share,
    /// Its inodes.
    pub inodes: Share,
}

impl Filling {
    /// How that is judged.
    pub fn fullness(&self) -> Fullness {
        let percent = self.bytes.percent().max(self.inodes.percent());
        Fullness::ALL.into_iter().rev().find(|mark| percent >= mark.percent()).unwrap_or(Fullness::Roomy)
    }
}

impl fmt::Display for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let Self { bytes, inodes } = self;
        write!(f, "{} % of its bytes are used ({} of {} MiB)", bytes.percent(), mib(bytes.used), mib(bytes.total))?;
        write!(f, " and {} % of its inodes ({} of {})", inodes.percent(), inodes.used, inodes.total)
    }
}

/// How full is too full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fullness {
    /// Nothing to be told.
    #[default]
    Roomy,
    /// 80 % of either share are used.
    Filling,
    /// 95 % of either share are used.
    NearlyFull,
}

impl Fullness {
    /// All of them, from empty to full.
    pub const ALL: [Self; 3] = [Self::Roomy, Self::Filling, Self::NearlyFull];

    /// Where it begins, in hundredths.
    pub const fn percent(self) -> u64 {
        match self {
            Self::Roomy => 0,
            Self::Filling => 80,
            Self::NearlyFull => 95,
        }
    }

    /// Its name, in events and figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Roomy => "roomy",
            Self::Filling => "filling",
            Self::NearlyFull => "nearly_full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: u64, inodes: u64) -> Filling {
        Filling { bytes: Share { used: bytes, total: 1000 }, inodes: Share { used: inodes, total: 1000 } }
    }

    #[test]
    fn the_fuller_share_counts_and_a_mark_begins_at_itself() {
        for (bytes, inodes, fullness) in [
            (0, 0, Fullness::Roomy),
            (799, 799, Fullness::Roomy),
            (800, 0, Fullness::Filling),
            (0, 800, Fullness::Filling),
            (949, 0, Fullness::Filling),
            (0, 950, Fullness::NearlyFull),
            (1000, 1000, Fullness::NearlyFull),
        ] {
            assert_eq!(filled(bytes, inodes).fullness(), fullness, "{bytes} {inodes}");
        }
    }

    #[test]
    fn shares_of_any_size_have_a_percentage() {
        assert_eq!(Share { used: 5, total: 0 }.percent(), 0);
        assert_eq!(Share { used: u64::MAX, total: u64::MAX }.percent(), 100);
    }
}
