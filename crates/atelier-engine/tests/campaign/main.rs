//! Fault campaigns on the simulated runtime: a real engine on a real store, while everything around it goes wrong.
//!
//! A campaign is a number of *episodes*, each on a fresh data folder; an episode is a number of *rounds*. In a round
//! faults are armed, several users send commands at once, the faults meet them, and then time passes until nothing is
//! under way. That must be so within the deadline, and then everything is asked: is each notebook in a stable status, is
//! every answer still true, does the runtime hold what the store says and nothing else, is no volume lost, be it shared, do the sums
//! and routes agree? Each round's faults are counted only when they met something.
//!
//! Nothing depends on the speed of the machine or on chance: time is virtual, the store is waited for standing still,
//! and all choices come from one seed, printed at the start. When an episode fails, it is run again and again with parts
//! left out, until what is left is short, and that history is shown with the environment that repeats it:
//!
//! * `ATELIER_CAMPAIGN_SEED`: the seed of the campaign.
//! * `ATELIER_CAMPAIGN_FAULTS`: how many faults must have been met before it ends.
//! * `ATELIER_CAMPAIGN_EPISODE`: only the episode of this number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "these are tests")]

mod check;
mod deeds;
mod entropy;
mod hand;
mod injector;
mod model;
mod plan;
mod runtime;
mod shrink;
mod store;
mod time;
mod users;
mod world;

use std::collections::BTreeMap;

use crate::plan::{Fault, Round, episode};
use crate::world::World;

/// Rounds of an episode: long enough for a fault to meet what an earlier one left, short enough to be made shorter.
const ROUNDS: usize = 25;

/// What an episode gave.
pub(crate) struct Episode {
    pub(crate) met: Vec<Fault>,
    pub(crate) history: Vec<String>,
    /// The round that failed, and why.
    pub(crate) failed: Option<(usize, String)>,
}

/// `trash`: whether deleted volumes rest for a while. Where they do, none is removed in an episode.
pub(crate) fn run(rounds: &[Round], trash: bool) -> Episode {
    let mut world = World::new(trash);
    let mut failed = None;
    for (n, round) in rounds.iter().enumerate() {
        if let Err(reason) = world.round(round) {
            failed = Some((n, reason));
            break;
        }
    }
    Episode { met: std::mem::take(&mut world.met), history: std::mem::take(&mut world.history), failed }
}

#[cfg(not(feature = "broken"))]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("`{name}` must be a number")))
}

/// The seeds of episodes lie far apart, so that campaigns with neighbouring seeds have nothing in common.
fn seed_of(seed: u64, episode: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ episode.wrapping_mul(0xd1b5_4a32_d192_ed03)
}

/// Runs episodes until so many faults were met; how often each was, or the failure with its shortest history.
fn campaign(seed: u64, faults: u64, only: Option<u64>) -> Result<BTreeMap<String, u64>, String> {
    let mut met = BTreeMap::new();
    let mut count = 0;
    let first = only.unwrap_or(0);
    for number in first.. {
        let (rounds, trash) = (episode(seed_of(seed, number), ROUNDS), number % 2 == 0);
        let outcome = run(&rounds, trash);
        if let Some((at, reason)) = outcome.failed {
            let shortest = shrink::shortest(&rounds[..=at], trash, &reason);
            return Err(format!(
                "{shortest}\nto repeat it: ATELIER_CAMPAIGN_SEED={seed} ATELIER_CAMPAIGN_EPISODE={number} cargo test -p \
                 atelier-engine --test campaign -- --nocapture"
            ));
        }
        for fault in outcome.met {
            count += 1;
            *met.entry(fault.name()).or_default() += 1;
        }
        if count >= faults || only.is_some() {
            break;
        }
    }
    Ok(met)
}

/// Wrong engines, each of which must be found out.
#[cfg(feature = "broken")]
mod broken {
    use atelier_engine::broken::{Broken, leave_out};

    use super::*;

    fn is_found_out(what: Broken, by: &str) {
        leave_out(Some(what));
        let found = campaign(20_261_121, 2_000, None);
        leave_out(None);
        let history = found.expect_err("nobody noticed");
        println!("{history}");
        assert!(history.contains(by), "it was noticed by something else:\n{history}");
    }

    #[test]
    fn an_undo_that_is_left_out() {
        is_found_out(Broken::Undo, "although nothing kept it from being taken back");
    }

    #[test]
    fn a_check_that_is_left_out() {
        is_found_out(Broken::Check, "is held of");
    }

    #[test]
    fn a_doubt_that_is_left_out() {
        is_found_out(Broken::Doubt, "the route says");
    }
}

#[cfg(not(feature = "broken"))]
mod sound {
    use super::*;
    use crate::plan::plain;

    /// What a debug build does in about half a minute.
    const FAULTS: u64 = 250;

    #[test]
    fn whatever_fails_everything_comes_to_rest_and_nothing_is_lost() {
        let seed = number("ATELIER_CAMPAIGN_SEED").unwrap_or(20_261_121);
        let faults = number("ATELIER_CAMPAIGN_FAULTS").unwrap_or(FAULTS);
        println!("ATELIER_CAMPAIGN_SEED={seed} ATELIER_CAMPAIGN_FAULTS={faults}");
        match campaign(seed, faults, number("ATELIER_CAMPAIGN_EPISODE")) {
            Ok(met) => {
                println!("{} faults of {} kinds:", met.values().sum::<u64>(), met.len());
                for (kind, times) in met {
                    println!("{times:>7} {kind}");
                }
            }
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Plain episodes that once found something: seed, episode, and what it was.
    const FOUND: [(u64, u64, &str); 1] =
        [(7, 326, "the answer to the last record of a failure is lost, and a volume is left")];

    #[test]
    fn what_was_found_once_stays_mended() {
        for (seed, number, what) in FOUND {
            let outcome = run(&plain(seed_of(seed, number), ROUNDS), true);
            assert_eq!(outcome.failed, None, "{what}\n{}", outcome.history.join("\n"));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let rounds = episode(7, ROUNDS);
        let (one, two) = (run(&rounds, true), run(&rounds, true));
        assert_eq!(one.history, two.history);
    }
}
