//! Slots: the numbers that tell running notebooks of one machine apart.
//!
//! A slot fixes the range of host uids, the address and the name of the network interface, so each must be held by
//! one notebook at most, also when several servers with data folders of their own run on one machine. A slot is a
//! file in a folder that all of them share, changed only under a lock that the kernel releases when its holder dies,
//! and put in place by `rename`, so that no crash leaves half a slot. Slots of an earlier boot, and of notebooks
//! whose folder is gone, are free. They are given round and round, so that one comes back as late as can be: the kernel
//! remembers the connections of an address for a while after its notebook has gone.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file;
use crate::process::boot_id;

/// How many ranges of 65,536 uids fit behind the usual base into 32 bits.
const SLOTS: u32 = 65_000;
/// Host uids per notebook.
pub(crate) const UIDS: u32 = 65_536;

/// Who holds a slot.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Holder {
    notebook: PathBuf,
    boot_id: String,
}

/// The slots of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    folder: PathBuf,
    uid_base: u32,
}

impl Slots {
    pub(crate) fn open(run_dir: &Path, uid_base: u32) -> io::Result<Self> {
        let folder = run_dir.join("slots");
        file::folder(&folder, 0o700)?;
        Ok(Self { folder, uid_base })
    }

    /// The slot of the notebook with this folder: the one it holds already, or a free one.
    pub(crate) fn claim(&self, notebook: &Path) -> io::Result<u32> {
        let _lock = self.lock()?;
        let mut taken = self.taken()?;
        let held = self.held(&taken, notebook);
        let boot_id = boot_id()?;
        taken.retain(|slot| self.in_use(*slot, &boot_id));
        let slot = match held {
            Some(slot) => slot,
            None => self.next(&taken)?,
        };
        // Also for one that it holds: it may have been claimed before this boot.
        let holder = Holder { notebook: notebook.to_owned(), boot_id };
        file::replace(&self.path(slot), &serde_json::to_vec(&holder)?, 0o600)?;
        Ok(slot)
    }

    /// The first free one behind that which was given last.
    fn next(&self, taken: &[u32]) -> io::Result<u32> {
        let file = self.folder.join("last");
        let last = file::read(&file)?.and_then(|text| String::from_utf8(text).ok()?.parse::<u32>().ok());
        let first = last.map_or(0, |last| last.saturating_add(1));
        let mut all = (first..self.slots()).chain(0..first.min(self.slots()));
        let free = all.find(|slot| taken.binary_search(slot).is_err());
        let slot = free.ok_or_else(|| io::Error::other("no slot is free"))?;
        file::replace(&file, slot.to_string().as_bytes(), 0o600)?;
        Ok(slot)
    }

    /// The slot that the notebook with this folder holds.
    pub(crate) fn of(&self, notebook: &Path) -> io::Result<Option<u32>> {
        Ok(self.held(&self.taken()?, notebook))
    }

    /// The notebook with this folder holds none afterwards.
    pub(crate) fn release(&self, notebook: &Path) -> io::Result<()> {
        let _lock = self.lock()?;
        for slot in self.taken()? {
            if self.holder(slot).is_some_and(|h| h.notebook == notebook) {
                file::remove(&self.path(slot))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(self.folder.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// The first host uid of a slot.
    pub(crate) const fn uid_base(&self, slot: u32) -> u32 {
        self.uid_base + slot * UIDS
    }

    fn slots(&self) -> u32 {
        SLOTS.min((u32::MAX - self.uid_base) / UIDS)
    }

    fn path(&self, slot: u32) -> PathBuf {
        self.folder.join(slot.to_string())
    }

    fn taken(&self) -> io::Result<Vec<u32>> {
        let mut taken: Vec<u32> = file::names(&self.folder)?.iter().filter_map(|n| n.parse().ok()).collect();
        taken.sort_unstable();
        Ok(taken)
    }

    fn holder(&self, slot: u32) -> Option<Holder> {
        serde_json::from_slice(&fs::read(self.path(slot)).ok()?).ok()
    }

    fn held(&self, taken: &[u32], notebook: &Path) -> Option<u32> {
        taken.iter().copied().find(|slot| self.holder(*slot).is_some_and(|h| h.notebook == notebook))
    }

    fn in_use(&self, slot: u32, boot: &str) -> bool {
        self.holder(slot).is_some_and(|h| h.boot_id == boot && h.notebook.exists())
    }
}

/// The address of a slot: 10.201.0.0/16 from its third address on.
pub(crate) fn address(slot: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 201, 0, 2)) + slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_notebooks_never_share_a_slot_and_one_keeps_its_own() {
        let run = tempfile::tempdir().unwrap();
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Slots::open(run.path(), 1_000_000).unwrap();
        let second = Slots::open(run.path(), 1_000_000).unwrap();
        assert_eq!(first.claim(a.path()).unwrap(), 0);
        assert_eq!(second.claim(b.path()).unwrap(), 1);
        assert_eq!(first.claim(a.path()).unwrap(), 0);
        first.release(a.path()).unwrap();
        first.release(a.path()).unwrap();
        assert_eq!(second.claim(b.path()).unwrap(), 1);
    }

    /// Room for three.
    const NEARLY_THE_LAST: u32 = u32::MAX - 3 * UIDS;

    #[test]
    fn a_slot_is_given_again_as_late_as_can_be() {
        let run = tempfile::tempdir().unwrap();
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let slots = Slots::open(run.path(), NEARLY_THE_LAST).unwrap();
        let given = (0..4).map(|_| {
            let slot = slots.claim(a.path()).unwrap();
            slots.release(a.path()).unwrap();
            slot
        });
        assert_eq!(given.collect::<Vec<_>>(), [0, 1, 2, 0]);
        let again = Slots::open(run.path(), NEARLY_THE_LAST).unwrap();
        assert_eq!((again.claim(a.path()).unwrap(), again.claim(b.path()).unwrap()), (1, 2));
        // The usual range has more of them; what was given last counts there as well.
        again.release(b.path()).unwrap();
        assert_eq!(Slots::open(run.path(), 1_000_000).unwrap().claim(b.path()).unwrap(), 3);
        again.release(b.path()).unwrap();
        assert_eq!(again.claim(b.path()).unwrap(), 0);
    }

    #[test]
    fn the_slot_of_a_vanished_notebook_is_free() {
        let run = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let slots = Slots::open(run.path(), NEARLY_THE_LAST).unwrap();
        let claim = |at: usize| slots.claim(folders[at].path());
        assert_eq!([claim(0).unwrap(), claim(1).unwrap(), claim(2).unwrap()], [0, 1, 2]);
        assert!(claim(3).is_err());
        std::fs::remove_dir(folders[1].path()).unwrap();
        assert_eq!(claim(3).unwrap(), 1);
    }

    #[test]
    fn ranges_do_not_overlap_and_addresses_stay_in_the_network() {
        let run = tempfile::tempdir().unwrap();
        let slots = Slots::open(run.path(), 1_000_000).unwrap();
        assert_eq!(slots.uid_base(1) - slots.uid_base(0), UIDS);
        assert!(slots.uid_base(slots.slots() - 1).checked_add(UIDS - 1).is_some());
        assert_eq!(address(0), Ipv4Addr::new(10, 201, 0, 2));
        assert_eq!(address(SLOTS - 1).octets()[..2], [10, 201]);
    }
}
