//! The write-ahead log, read before `SQLite` does: whether something in it is lost that was answered.
//!
//! `SQLite` takes over the log up to the first frame whose checksum is wrong, and forgets the rest without a word. That
//! is right for what a crash left half-written: nobody was answered. But a frame may also have gone bad later. The two
//! can be told apart, because a commit is forced to disk before it is answered and before the next one is written: a bad
//! frame with a whole commit behind it, and something of the one after that, was on disk once. Damage in the very last
//! commit looks like a crash, and is taken for one.
//!
//! Checksums are chained, each starts from the one before. Those behind a bad frame are proven from the checksum that the
//! frame itself carries, so damage in a page is found; a frame whose own head is destroyed ends the proof.

use std::fs;
use std::io;
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// The number of the frame that is damaged though it was committed; `None` when all that was answered is there.
pub(crate) fn lost_frame(path: &Path) -> io::Result<Option<u64>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Log::of(&bytes).and_then(|log| log.lost_frame())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

struct Log<'b> {
    frames: &'b [u8],
    page_size: usize,
    salts: &'b [u8],
    /// Checksums are over words in this order of bytes.
    big_endian: bool,
    /// What the header's own checksum is.
    seed: Checksum,
}

type Checksum = (u32, u32);

/// One frame, as far as it is there.
struct Frame {
    ends_commit: bool,
    whole: bool,
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn pair(bytes: &[u8]) -> Checksum {
    (word(&bytes[..4]), word(&bytes[4..8]))
}

impl<'b> Log<'b> {
    /// A log whose header is whole. A header that is not belongs to a log that was about to be begun.
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let (header, frames) = bytes.split_at_checked(HEADER)?;
        let magic = word(&header[..4]);
        if magic & !1 != MAGIC {
            return None;
        }
        let page_size = usize::try_from(word(&header[8..12])).ok()?;
        let mut log =
            Self { frames, page_size, salts: &header[16..24], big_endian: magic & 1 == 1, seed: pair(&header[24..32]) };
        let plausible = page_size.is_power_of_two() && (512..=65536).contains(&page_size);
        let whole = log.sum((0, 0), &header[..24]) == log.seed;
        log.seed = pair(&header[24..32]);
        (plausible && whole).then_some(log)
    }

    fn sum(&self, seed: Checksum, bytes: &[u8]) -> Checksum {
        let word = |bytes: &[u8]| {
            let word = word(bytes);
            if self.big_endian { word } else { word.swap_bytes() }
        };
        bytes.as_chunks::<8>().0.iter().fold(seed, |(one, two), words| {
            let one = one.wrapping_add(word(&words[..4])).wrapping_add(two);
            (one, two.wrapping_add(word(&words[4..])).wrapping_add(one))
        })
    }

    /// The frames of this log; those of an older one, which lie behind them, have other salts.
    fn frames(&self) -> impl Iterator<Item = Frame> {
        let mut seed = self.seed;
        self.frames.chunks_exact(FRAME_HEADER + self.page_size).map_while(move |frame| {
            let (header, page) = frame.split_at(FRAME_HEADER);
            if header[8..16] != *self.salts {
                return None;
            }
            let told = pair(&header[16..24]);
            let whole = self.sum(self.sum(seed, &header[..8]), page) == told;
            seed = told;
            Some(Frame { ends_commit: word(&header[4..8]) != 0, whole })
        })
    }

    fn lost_frame(&self) -> Option<u64> {
        let (mut bad, mut commit_behind) = (None, false);
        for (number, frame) in (1_u64..).zip(self.frames()) {
            match (bad, frame.whole) {
                (None, true) => {}
                (None, false) => (bad, commit_behind) = (Some(number), frame.ends_commit),
                (Some(_), true) if commit_behind => return bad,
                (Some(_), true) => commit_behind = frame.ends_commit,
                // A second one in a row proves nothing about what lies behind it.
                (Some(_), false) => commit_behind = commit_behind || frame.ends_commit,
            }
        }
        None
    }
}
