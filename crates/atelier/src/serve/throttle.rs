//! How many requests a caller may make: a bucket for each, refilled steadily.
//!
//! A caller is known by what they show (a token, an access key), or by their address where they show nothing. Whether
//! what is shown is right is not known here: this stands before the checks, whose cost it bounds. So that made-up
//! tokens do not make callers, an address as a whole has a bucket too, many times as large.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use atelier_core::{Clock, Timestamp};
use http::{HeaderMap, header};

/// How many callers one address may speak for.
const CALLERS_PER_ADDRESS: f64 = 50.0;
/// Buckets kept; full ones are forgotten first, as they say nothing.
const MOST_BUCKETS: usize = 50_000;

/// The buckets of all callers.
pub(super) struct Throttle {
    rate: u32,
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
    refused: AtomicU64,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Throttle {
    /// So many requests a second for each caller; as many at once.
    pub(super) fn new(rate: u32, clock: Arc<dyn Clock>) -> Self {
        Self { rate, clock, hasher: RandomState::new(), buckets: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// Requests a second.
    pub(super) const fn rate(&self) -> u32 {
        self.rate
    }

    /// How many requests were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether one more request is within the limit.
    pub(super) fn admits(&self, headers: &HeaderMap, from: IpAddr) -> bool {
        let admitted = self.has_room(headers, from);
        self.refused.fetch_add(u64::from(!admitted), Ordering::Relaxed);
        admitted
    }

    fn has_room(&self, headers: &HeaderMap, from: IpAddr) -> bool {
        let now = self.clock.now();
        let rate = f64::from(self.rate);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_BUCKETS {
            buckets.retain(|_, bucket| now.millis_since(bucket.at) < 1000);
        }
        let address = take(&mut buckets, self.hasher.hash_one(from), now, rate * CALLERS_PER_ADDRESS);
        let shown = shown(headers).map(|shown| self.hasher.hash_one((from, shown)));
        let caller = shown.unwrap_or_else(|| self.hasher.hash_one((from, "nobody")));
        address && take(&mut buckets, caller, now, rate)
    }
}

/// Takes one request out of a bucket that holds a second's worth and is refilled in a second.
fn take(buckets: &mut HashMap<u64, Bucket>, key: u64, now: Timestamp, rate: f64) -> bool {
    let bucket = buckets.entry(key).or_insert(Bucket { left: rate, at: now });
    let passed = u32::try_from(now.millis_since(bucket.at).clamp(0, 1000)).unwrap_or(1000);
    bucket.left = (bucket.left + rate * f64::from(passed) / 1000.0).min(rate);
    bucket.at = now;
    let admitted = bucket.left >= 1.0;
    if admitted {
        bucket.left -= 1.0;
    }
    admitted
}

/// What tells callers apart: a token, or the access key of a signature, which changes with every request.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(token) = headers.get("x-auth-token") {
        return Some(token.as_bytes());
    }
    let authorization = headers.get(header::AUTHORIZATION)?.as_bytes();
    authorization.split(|b| *b == b',').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_core::clock::ManualClock;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    fn throttle(rate: u32) -> (Throttle, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        (Throttle::new(rate, clock.clone()), clock)
    }

    #[test]
    fn a_caller_gets_a_seconds_worth_and_then_as_much_as_time_passes() {
        let (throttle, clock) = throttle(10);
        let me = headers("x-auth-token", "me");
        let admitted = || (0..50).filter(|_| throttle.admits(&me, FROM)).count();
        assert_eq!(admitted(), 10);
        clock.advance(500);
        assert_eq!(admitted(), 5);
        clock.advance(60_000);
        assert_eq!(admitted(), 10);
    }

    #[test]
    fn one_caller_does_not_use_up_another_ones() {
        let (throttle, _) = throttle(3);
        let drain = |headers: &HeaderMap| (0..9).filter(|_| throttle.admits(headers, FROM)).count();
        assert_eq!(drain(&headers("x-auth-token", "a")), 3);
        assert_eq!(drain(&headers("x-auth-token", "b")), 3);
        assert_eq!(drain(&headers("authorization", "SDK-HMAC-SHA256 Access=K, SignedHeaders=h, Signature=1")), 3);
        assert_eq!(drain(&headers("authorization", "SDK-HMAC-SHA256 Access=K, SignedHeaders=h, Signature=2")), 0);
        assert_eq!(drain(&HeaderMap::new()), 3);
    }

    #[test]
    fn made_up_tokens_end_at_the_bucket_of_their_address() {
        let (throttle, _) = throttle(2);
        let admitted = (0..500).filter(|n| throttle.admits(&headers("x-auth-token", &n.to_string()), FROM)).count();
        assert_eq!(admitted, 100);
    }

    #[test]
    fn what_is_remembered_of_callers_is_bounded() {
        let (throttle, clock) = throttle(1_000_000);
        for n in 0..MOST_BUCKETS {
            throttle.admits(&headers("x-auth-token", &n.to_string()), FROM);
        }
        clock.advance(1000);
        throttle.admits(&HeaderMap::new(), FROM);
        assert!(throttle.buckets.lock().unwrap().len() < 10);
    }
}
