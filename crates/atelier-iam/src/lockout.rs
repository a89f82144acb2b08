//! Five bad tries lock a name for five minutes, but only for the address they came from: whoever could lock a name for
//! everybody could keep its owner out. Signatures are counted by access key, passwords by user, each in a memory of its
//! own.
//!
//! An unknown name is counted like a known one, so that being locked says nothing about it. Memory is bounded: when all
//! places are taken, the entry that was quiet for the longest goes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atelier_core::clock::Timestamp;

/// Bad tries before the lock.
pub const TRIES: u32 = 5;
/// How long a lock holds, and how long a bad try is remembered, in milliseconds.
pub const LOCKED_MS: i64 = 5 * 60 * 1000;

const MOST: usize = 4096;
/// Keys are shorter; a longer text is cut, so that nobody chooses how much is remembered.
const KEY_CHARS: usize = 64;

/// Who tried badly, from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Suspect(Box<str>, IpAddr);

/// Bad tries in a row.
#[derive(Clone, Copy, Debug)]
struct Record {
    bad: u32,
    last: Timestamp,
}

impl Record {
    const fn is_forgotten(&self, now: Timestamp) -> bool {
        now.millis_since(self.last) >= LOCKED_MS
    }
}

/// The memory of bad tries.
#[derive(Debug, Default)]
pub(crate) struct Lockout {
    records: Mutex<HashMap<Suspect, Record>>,
    refused: AtomicU64,
}

impl Lockout {
    pub(crate) fn is_locked(&self, access: &str, from: IpAddr, now: Timestamp) -> bool {
        self.locked_for(access, from, now).is_some()
    }

    /// How many milliseconds the lock still holds, when there is one.
    pub(crate) fn locked_for(&self, access: &str, from: IpAddr, now: Timestamp) -> Option<i64> {
        let records = self.records();
        let record = records.get(&suspect(access, from)).filter(|record| record.bad >= TRIES)?;
        let left = (!record.is_forgotten(now)).then(|| LOCKED_MS - now.millis_since(record.last));
        self.refused.fetch_add(left.is_some().into(), Ordering::Relaxed);
        left
    }

    /// How often somebody was found locked.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn bad(&self, access: &str, from: IpAddr, now: Timestamp) {
        let mut records = self.records();
        let suspect = suspect(access, from);
        if !records.contains_key(&suspect) {
            make_room(&mut records, now);
        }
        let record = records.entry(suspect).or_insert(Record { bad: 0, last: now });
        record.bad = if record.is_forgotten(now) { 1 } else { record.bad.saturating_add(1) };
        record.last = now;
    }

    pub(crate) fn good(&self, access: &str, from: IpAddr) {
        let mut records = self.records();
        // Nearly always nobody is suspected, and then no key needs to be made.
        if !records.is_empty() {
            records.remove(&suspect(access, from));
        }
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Suspect, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(records: &mut HashMap<Suspect, Record>, now: Timestamp) {
    if records.len() < MOST {
        return;
    }
    records.retain(|_, record| !record.is_forgotten(now));
    if records.len() >= MOST {
        let quietest = records.iter().min_by_key(|(_, record)| record.last).map(|(suspect, _)| suspect.clone());
        quietest.map(|suspect| records.remove(&suspect));
    }
}

fn suspect(access: &str, from: IpAddr) -> Suspect {
    let key: String = access.chars().take(KEY_CHARS).collect();
    Suspect(key.into(), household(from))
}

/// An IPv4 address as it is, an IPv6 address by its /64: a household has that many of them for the asking.
fn household(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn after(tries: u32) -> Lockout {
        let lockout = Lockout::default();
        for _ in 0..tries {
            lockout.bad("AK", HERE, at(0));
        }
        lockout
    }

    #[test]
    fn the_fifth_bad_signature_locks_and_the_fourth_does_not() {
        assert!(!after(4).is_locked("AK", HERE, at(0)));
        assert!(after(5).is_locked("AK", HERE, at(0)));
    }

    #[test]
    fn neither_the_key_alone_nor_the_address_alone_is_locked() {
        let lockout = after(5);
        assert!(!lockout.is_locked("AK", THERE, at(0)));
        assert!(!lockout.is_locked("OTHER", HERE, at(0)));
    }

    #[test]
    fn a_lock_holds_five_minutes_to_the_millisecond() {
        let lockout = after(5);
        assert!(lockout.is_locked("AK", HERE, at(LOCKED_MS - 1)));
        assert!(!lockout.is_locked("AK", HERE, at(LOCKED_MS)));
        lockout.bad("AK", HERE, at(LOCKED_MS));
        assert!(!lockout.is_locked("AK", HERE, at(LOCKED_MS)), "counting begins anew");
    }

    #[test]
    fn a_good_signature_clears_the_record() {
        let lockout = after(4);
        lockout.good("AK", HERE);
        lockout.bad("AK", HERE, at(0));
        assert!(!lockout.is_locked("AK", HERE, at(0)));
    }

    #[test]
    fn addresses_of_one_household_count_as_one() {
        let lockout = Lockout::default();
        for host in 1..=5_u128 {
            lockout.bad("AK", IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + host)), at(0));
        }
        assert!(lockout.is_locked("AK", "2001:db8::99".parse().unwrap(), at(0)));
        assert!(!lockout.is_locked("AK", "2001:db8:0:1::99".parse().unwrap(), at(0)));
        assert!(after(5).is_locked("AK", "::ffff:192.0.2.1".parse().unwrap(), at(0)));
    }

    #[test]
    fn memory_is_bounded_and_a_fresh_lock_survives_a_flood() {
        let lockout = Lockout::default();
        let end = at(i64::try_from(MOST).unwrap());
        lockout.bad("OLD", HERE, at(0));
        for _ in 0..TRIES {
            lockout.bad("AK", HERE, end);
        }
        for n in 0..i64::try_from(MOST).unwrap() - 1 {
            lockout.bad(&format!("KEY{n}"), HERE, at(1 + n));
        }
        assert_eq!(lockout.records().len(), MOST);
        assert!(lockout.is_locked("AK", HERE, end));
        assert!(!lockout.records().contains_key(&suspect("OLD", HERE)));
    }
}
