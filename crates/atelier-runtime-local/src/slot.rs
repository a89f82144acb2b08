//! Slots: the numbers that tell running notebooks of one machine apart.
//!
//! A slot fixes the range of host uids, the address and the name of the network interface, so each must be held by
//! one notebook at most: it is claimed (`claims`). Slots are given round and round, so that one comes back as late as can
//! be: the kernel remembers the connections of an address for a while after its notebook has gone.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::claims::Claims;
use crate::file;

/// How many ranges of 65,536 uids fit behind the usual base into 32 bits.
const SLOTS: u32 = 65_000;
/// Host uids per notebook.
pub(crate) const UIDS: u32 = 65_536;
/// The file with the slot that was given last.
const LAST: &str = "last";

/// The slots of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    claims: Claims,
    uid_base: u32,
}

impl Slots {
    pub(crate) const fn new(claims: Claims, uid_base: u32) -> Self {
        Self { claims, uid_base }
    }

    /// The slot of the notebook with this folder: the one it holds already, or a free one.
    pub(crate) fn claim(&self, notebook: &Path) -> io::Result<u32> {
        let claims = self.claims.lock()?;
        let (others, own) = claims.others_and_own(notebook)?;
        let slot = match numbers(&own).next() {
            Some(slot) => slot,
            None => self.next(&numbers(&others).collect())?,
        };
        // Also for one that it holds: it may have been claimed before this boot.
        claims.take(&slot.to_string(), notebook)?;
        Ok(slot)
    }

    /// The first free one behind that which was given last.
    fn next(&self, taken: &BTreeSet<u32>) -> io::Result<u32> {
        let file = self.claims.path(LAST);
        let last = file::read(&file)?.and_then(|text| String::from_utf8(text).ok()?.parse::<u32>().ok());
        let first = last.map_or(0, |last| last.saturating_add(1));
        let mut all = (first..self.slots()).chain(0..first.min(self.slots()));
        let slot = all.find(|slot| !taken.contains(slot)).ok_or_else(|| io::Error::other("no slot is free"))?;
        file::replace(&file, slot.to_string().as_bytes(), 0o600)?;
        Ok(slot)
    }

    /// The slot that the notebook with this folder holds.
    pub(crate) fn of(&self, notebook: &Path) -> io::Result<Option<u32>> {
        Ok(numbers(&self.claims.of(notebook)?).next())
    }

    /// The notebook with this folder holds none afterwards.
    pub(crate) fn release(&self, notebook: &Path) -> io::Result<()> {
        self.claims.release(notebook)
    }

    /// The first host uid of a slot.
    pub(crate) const fn uid_base(&self, slot: u32) -> u32 {
        self.uid_base + slot * UIDS
    }

    fn slots(&self) -> u32 {
        SLOTS.min((u32::MAX - self.uid_base) / UIDS)
    }
}

fn numbers(names: &[String]) -> impl Iterator<Item = u32> {
    names.iter().filter_map(|name| name.parse().ok())
}

/// The address of a slot: 10.201.0.0/16 from its third address on.
pub(crate) fn address(slot: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 201, 0, 2)) + slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots_in(run: &tempfile::TempDir, uid_base: u32) -> Slots {
        Slots::new(Claims::of_folder(run.path().join("slots")), uid_base)
    }

    #[test]
    fn two_notebooks_never_share_a_slot_and_one_keeps_its_own() {
        let run = tempfile::tempdir().unwrap();
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = slots_in(&run, 1_000_000);
        let second = slots_in(&run, 1_000_000);
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
        let slots = slots_in(&run, NEARLY_THE_LAST);
        let given = (0..4).map(|_| {
            let slot = slots.claim(a.path()).unwrap();
            slots.release(a.path()).unwrap();
            slot
        });
        assert_eq!(given.collect::<Vec<_>>(), [0, 1, 2, 0]);
        let again = slots_in(&run, NEARLY_THE_LAST);
        assert_eq!((again.claim(a.path()).unwrap(), again.claim(b.path()).unwrap()), (1, 2));
        // The usual range has more of them; what was given last counts there as well.
        again.release(b.path()).unwrap();
        assert_eq!(slots_in(&run, 1_000_000).claim(b.path()).unwrap(), 3);
        again.release(b.path()).unwrap();
        assert_eq!(again.claim(b.path()).unwrap(), 0);
    }

    #[test]
    fn the_slot_of_a_vanished_notebook_is_free() {
        let run = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let slots = slots_in(&run, NEARLY_THE_LAST);
        let claim = |at: usize| slots.claim(folders[at].path());
        assert_eq!([claim(0).unwrap(), claim(1).unwrap(), claim(2).unwrap()], [0, 1, 2]);
        assert!(claim(3).is_err());
        std::fs::remove_dir(folders[1].path()).unwrap();
        assert_eq!(claim(3).unwrap(), 1);
    }

    #[test]
    fn ranges_do_not_overlap_and_addresses_stay_in_the_network() {
        let run = tempfile::tempdir().unwrap();
        let slots = slots_in(&run, 1_000_000);
        assert_eq!(slots.uid_base(1) - slots.uid_base(0), UIDS);
        assert!(slots.uid_base(slots.slots() - 1).checked_add(UIDS - 1).is_some());
        assert_eq!(address(0), Ipv4Addr::new(10, 201, 0, 2));
        assert_eq!(address(SLOTS - 1).octets()[..2], [10, 201]);
    }
}
