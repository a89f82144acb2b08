//! Verdicts: each signal by itself, what they say together, and what holds whatever they say.

use proptest::prelude::*;

use super::*;
use crate::lease::{Grant, Lease, LeaseKind};

const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// Short times, so that tests read easily: a window of 100 s, a ceiling of 300 s, a gap of 60 s.
const RULES: Rules = Rules {
    cpu_window_ms: 100_000,
    cpu_margin_millis: 30,
    cpu_baseline_most_millis: 20,
    unknown_ceiling_ms: 300_000,
    starting_most_ms: 120_000,
    gap_most_ms: 60_000,
};

fn kernel(state: &str, mark: &str) -> Kernel {
    Kernel { id: "8f3a0000-1".into(), state: state.into(), mark: mark.into() }
}

fn terminal(mark: &str) -> Terminal {
    Terminal { name: "1".into(), mark: mark.into() }
}

/// A look at which nothing is active.
fn quiet(seconds: i64) -> Look {
    Look {
        at: t(seconds),
        kernels: Ok(vec![kernel("idle", "m")]),
        terminals: Ok(vec![terminal("m")]),
        foreground: Ok(Vec::new()),
        person_at: None,
        cpu_micros: Ok(u64::try_from(seconds).unwrap() * 1000),
        gpu_percents: Ok(Vec::new()),
    }
}

/// A notebook that has been looked at until 30 s and was quiet.
fn watched() -> Watch {
    let mut watch = Watch::beginning(t(0));
    for at in [10, 20, 30] {
        assert_eq!(watch.look(&quiet(at), &RULES, Baseline::default()), None);
    }
    assert_eq!(watch.verdict(), &Verdict::Idle(t(0)));
    watch
}

fn verdict(watch: &mut Watch, look: &Look) -> Verdict {
    watch.look(look, &RULES, Baseline::default());
    watch.verdict().clone()
}

/// The reasons after one more look at 40 s; empty when it is idle.
fn reasons(change: impl FnOnce(&mut Look)) -> Vec<String> {
    let (mut watch, mut look) = (watched(), quiet(40));
    change(&mut look);
    match verdict(&mut watch, &look) {
        Verdict::Active(reasons) => {
            assert_eq!(watch.last_activity(), t(40), "{reasons:?}");
            reasons
        }
        Verdict::Idle(since) => {
            assert_eq!(since, t(0));
            Vec::new()
        }
        Verdict::Unknown(why) => panic!("unknown: {why:?}"),
    }
}

#[test]
fn a_notebook_counts_as_active_when_its_watch_begins_and_is_idle_from_then_on() {
    assert_eq!(Watch::beginning(t(7)).last_activity(), t(7));
    assert_eq!(watched().last_activity(), t(0));
    assert_eq!(reasons(|_| {}), [""; 0]);
}

#[test]
fn a_busy_kernel_is_active_however_silent_it_is() {
    assert_eq!(reasons(|l| l.kernels = Ok(vec![kernel("busy", "m")])), ["kernel 8f3a0000 is busy"]);
    let mut watch = Watch::beginning(t(0));
    for at in (10..10_000).step_by(50) {
        let look = Look { kernels: Ok(vec![kernel("busy", "m")]), ..quiet(at) };
        assert!(matches!(verdict(&mut watch, &look), Verdict::Active(_)), "at {at}");
    }
}

#[test]
fn every_word_of_a_kernel_but_idle_and_dead_is_active() {
    for state in ["busy", "starting", "restarting", "autorestarting", "terminating", "unknown", "a new word", ""] {
        assert_eq!(reasons(|l| l.kernels = Ok(vec![kernel(state, "m")])).len(), 1, "{state}");
    }
    // One that dies by itself did something; one that stays dead does nothing.
    let mut watch = watched();
    assert!(matches!(
        verdict(&mut watch, &Look { kernels: Ok(vec![kernel("dead", "m")]), ..quiet(40) }),
        Verdict::Active(_)
    ));
    let still = Look { kernels: Ok(vec![kernel("dead", "m")]), ..quiet(50) };
    assert_eq!(verdict(&mut watch, &still), Verdict::Idle(t(40)));
}

#[test]
fn a_kernel_that_did_something_between_two_looks_was_active() {
    assert_eq!(reasons(|l| l.kernels = Ok(vec![kernel("idle", "later")])), ["kernel 8f3a0000 did something"]);
    let new = Kernel { id: "new".into(), ..kernel("idle", "m") };
    assert_eq!(reasons(|l| l.kernels.as_mut().unwrap().push(new)), ["kernel new did something"]);
    assert_eq!(reasons(|l| l.kernels = Ok(Vec::new())), [""; 0], "one that was shut down does nothing");
}

#[test]
fn a_kernel_that_never_gets_further_than_starting_is_active_for_a_while_only() {
    let mut watch = Watch::beginning(t(0));
    for at in (0..=120).step_by(20) {
        let look = Look { kernels: Ok(vec![kernel("starting", "m")]), ..quiet(at) };
        assert!(matches!(verdict(&mut watch, &look), Verdict::Active(_)), "at {at}");
    }
    let look = Look { kernels: Ok(vec![kernel("starting", "m")]), ..quiet(140) };
    assert_eq!(verdict(&mut watch, &look), Verdict::Idle(t(120)));
}

#[test]
fn terminals_are_active_by_their_foreground_and_by_traffic() {
    assert_eq!(reasons(|l| l.foreground = Ok(vec!["python".into()])), ["`python` runs in a terminal"]);
    assert_eq!(reasons(|l| l.terminals = Ok(vec![terminal("n")])), ["terminal `1` had traffic"]);
    assert_eq!(reasons(|l| l.terminals = Ok(Vec::new())), [""; 0]);
    // What is known to run is active, also when terminals cannot be asked.
    let both = |l: &mut Look| (l.terminals, l.foreground) = (Err("no answer".into()), Ok(vec!["vim".into()]));
    assert_eq!(reasons(both), ["`vim` runs in a terminal"]);
}

#[test]
fn people_count_at_the_moment_at_which_they_did_something() {
    let mut watch = watched();
    let look = Look { person_at: Some(t(33)), ..quiet(40) };
    assert_eq!(verdict(&mut watch, &look), Verdict::Active(vec!["somebody works in it".into()]));
    let later = Look { person_at: Some(t(33)), ..quiet(50) };
    assert_eq!(verdict(&mut watch, &later), Verdict::Idle(t(33)));
    // A clock that was set back does not make people come from the future.
    let odd = Look { person_at: Some(t(900)), ..quiet(60) };
    watch.look(&odd, &RULES, Baseline::default());
    assert_eq!(watch.last_activity(), t(60));
}

#[test]
fn processor_time_counts_above_baseline_and_margin_over_the_window() {
    let rate = |millis: u64, baseline: Baseline| {
        let mut watch = Watch::beginning(t(0));
        for at in (0..=200_u32).step_by(10) {
            let cpu_micros = Ok(u64::from(at) * 1000 * millis);
            watch.look(&Look { cpu_micros, ..quiet(at.into()) }, &RULES, baseline);
        }
        matches!(watch.verdict(), Verdict::Active(_))
    };
    let mut known = Baseline::default();
    assert!(!rate(30, known) && rate(31, known));
    known.learn(10);
    assert!(!rate(40, known) && rate(41, known));
}

#[test]
fn a_gpu_is_active_above_one_percent_and_unknown_when_it_cannot_be_asked() {
    for (percents, reason) in [
        (vec![], None),
        (vec![0, 1], None),
        (vec![2], Some("a GPU is busy for 2 % of the time")),
        (vec![0, 100, 3], Some("a GPU is busy for 100 % of the time")),
    ] {
        assert_eq!(reasons(|l| l.gpu_percents = Ok(percents)), reason.into_iter().collect::<Vec<_>>());
    }
    let mut watch = watched();
    let silent = Look { gpu_percents: Err("no answer".into()), ..quiet(40) };
    assert_eq!(verdict(&mut watch, &silent), Verdict::Unknown(vec!["gpu: no answer".into()]));
    assert!(watch.figures(t(40)).contains("gpu: not known, no answer (active above 1 %"), "{}", watch.figures(t(40)));
}

#[test]
fn a_burst_counts_until_it_has_left_the_window() {
    let mut watch = watched();
    let after = |at: i64| Look { cpu_micros: Ok(10_000_000), ..quiet(at) };
    for at in (40..=130).step_by(10) {
        assert!(matches!(verdict(&mut watch, &after(at)), Verdict::Active(_)), "at {at}");
    }
    for at in [140, 150] {
        assert_eq!(verdict(&mut watch, &after(at)), Verdict::Idle(t(130)), "at {at}");
    }
}

#[test]
fn a_counter_that_starts_anew_measures_nothing_wrong() {
    assert_eq!(reasons(|l| l.cpu_micros = Ok(1)), [""; 0]);
}

#[test]
fn a_baseline_is_the_lowest_idle_reading_and_is_bounded() {
    let mut baseline = Baseline::default();
    assert_eq!(baseline.threshold(&RULES), 30);
    for (reading, threshold) in [(500, 50), (18, 48), (19, 48), (3, 33)] {
        baseline.learn(reading);
        assert_eq!(baseline.threshold(&RULES), threshold, "after {reading}");
    }
}

#[test]
fn a_baseline_learns_over_whole_windows_and_from_idle_instances_only() {
    let mut watch = watched();
    assert_eq!(watch.idle_cpu(&RULES), None, "30 s are no window");
    for at in (40..=110).step_by(10) {
        watch.look(&quiet(at), &RULES, Baseline::default());
    }
    assert_eq!(watch.idle_cpu(&RULES), Some(1));
    watch.look(&Look { kernels: Ok(vec![kernel("busy", "m")]), ..quiet(120) }, &RULES, Baseline::default());
    assert_eq!(watch.idle_cpu(&RULES), None);
}

#[test]
fn what_cannot_be_asked_counts_up_to_the_ceiling_and_says_so_twice() {
    let mut news = Vec::new();
    let mut watch = watched();
    for at in (40..=400).step_by(10) {
        let look = Look { kernels: Err("no answer".into()), ..quiet(at) };
        news.extend(watch.look(&look, &RULES, Baseline::default()).map(|n| (at, n)));
        assert_eq!(watch.verdict(), &Verdict::Unknown(vec!["kernels: no answer".into()]));
        assert_eq!(watch.last_activity(), t(at.min(340)));
    }
    let why = "kernels: no answer".to_owned();
    assert_eq!(news, [(40, News::UnknownBegan(why.clone())), (350, News::CeilingPassed(why))]);
}

#[test]
fn a_signal_that_answers_every_other_time_gains_no_second_ceiling() {
    let mut watch = watched();
    for at in (40..=2000).step_by(10) {
        let kernels = if at % 20 == 0 { Err("no answer".into()) } else { quiet(at).kernels };
        watch.look(&Look { kernels, ..quiet(at) }, &RULES, Baseline::default());
    }
    assert_eq!(watch.last_activity(), t(340));
    // Real activity gives it anew.
    watch.look(&Look { person_at: Some(t(2005)), ..quiet(2010) }, &RULES, Baseline::default());
    let look = Look { cpu_micros: Err("no cgroup".into()), ..quiet(2020) };
    let news = watch.look(&look, &RULES, Baseline::default());
    assert!(matches!(news, Some(News::UnknownBegan(_))));
    assert_eq!(watch.last_activity(), t(2020));
}

#[test]
fn one_active_signal_outweighs_what_is_unknown() {
    let reasons = reasons(|l| {
        l.kernels = Ok(vec![kernel("busy", "m")]);
        (l.terminals, l.cpu_micros) = (Err("x".into()), Err("y".into()));
    });
    assert_eq!(reasons, ["kernel 8f3a0000 is busy"]);
}

#[test]
fn a_gap_without_looks_begins_the_watch_anew() {
    let mut watch = watched();
    assert_eq!(verdict(&mut watch, &quiet(90)), Verdict::Idle(t(0)), "60 s are no gap");
    assert_eq!(verdict(&mut watch, &quiet(151)), Verdict::Idle(t(151)));
}

#[test]
fn the_words_of_a_notebook_are_shortened_and_tamed() {
    let state = format!("\u{1b}[31m`{}\n", "x".repeat(500));
    let said = reasons(|l| l.kernels = Ok(vec![Kernel { id: "ü".repeat(20), ..kernel(&state, "m") }])).concat();
    assert!(said.len() < 400 && !said.contains(['\u{1b}', '\n', '`']), "{said}");
    let many = (0..50).map(|n| Kernel { id: format!("{n}"), ..kernel("busy", "m") }).collect();
    assert_eq!(reasons(|l| l.kernels = Ok(many)), ["kernel 0 is busy, kernel 1 is busy, kernel 2 is busy and 47 more"]);
}

#[test]
fn the_figures_name_every_signal_with_its_value_and_its_last_time() {
    let mut watch = watched();
    let look = Look { kernels: Ok(vec![kernel("busy", "m")]), ..quiet(40) };
    watch.look(&look, &RULES, Baseline::default());
    watch.look(&Look { terminals: Err("no answer".into()), ..quiet(50) }, &RULES, Baseline::default());
    let figures = watch.figures(t(70));
    for part in [
        "kernels: 1 idle (active if one is not idle; last active 20 s before)",
        "terminals: not known, no answer",
        "people: nobody yet (active if anybody works; never seen active)",
        "cpu: 1 thousandths of a CPU over 40 s (active above 30: baseline 0 and 30; never seen active)",
    ] {
        assert!(figures.contains(part), "{part}\n{figures}");
    }
}

/// What may be found by a look; the processor as thousandths of a CPU since the one before.
#[derive(Clone, Debug)]
struct Found {
    after: i64,
    kernels: Option<&'static str>,
    traffic: Option<bool>,
    person: bool,
    millis: Option<u64>,
}

fn found() -> impl Strategy<Value = Found> {
    let state = prop_oneof![3 => Just(Some("idle")), 1 => Just(Some("busy")), 1 => Just(None)];
    let traffic = prop_oneof![4 => Just(Some(false)), 1 => Just(Some(true)), 1 => Just(None)];
    let millis = prop_oneof![4 => Just(Some(1)), 1 => Just(Some(900)), 1 => Just(None)];
    (1_i64..60, state, traffic, prop::bool::weighted(0.1), millis)
        .prop_map(|(after, kernels, traffic, person, millis)| Found { after, kernels, traffic, person, millis })
}

proptest! {
    /// Whatever is found: activity never goes back and never lies in the future; what is active counts at once; what
    /// is quiet and known changes nothing; and what is unknown counts no longer than its ceiling beyond the first look
    /// that could not ask.
    #[test]
    fn the_rules_hold_in_every_history(history in prop::collection::vec(found(), 1..60)) {
        let (mut watch, mut at, mut micros, mut marks) = (Watch::beginning(t(0)), 0, 0, 0);
        let mut person_at = None;
        let mut unknown_since: Option<i64> = None;
        for found in history {
            at += found.after;
            let before = watch.last_activity();
            micros += found.millis.unwrap_or(1) * u64::try_from(found.after).unwrap() * 1000;
            marks += i32::from(found.traffic == Some(true));
            person_at = if found.person { Some(t(at)) } else { person_at };
            let unheard = || "unheard".to_owned();
            let look = Look {
                at: t(at),
                kernels: found.kernels.map(|state| vec![kernel(state, "m")]).ok_or_else(unheard),
                terminals: found.traffic.map(|_| vec![terminal(&marks.to_string())]).ok_or_else(unheard),
                foreground: Ok(Vec::new()),
                person_at,
                cpu_micros: found.millis.map(|_| micros).ok_or_else(unheard),
                gpu_percents: Ok(Vec::new()),
            };
            let news = watch.look(&look, &RULES, Baseline::default());
            let now = watch.last_activity();
            prop_assert!(before <= now && now <= t(at));
            match watch.verdict() {
                Verdict::Active(why) => {
                    prop_assert!(!why.is_empty());
                    prop_assert_eq!(now, t(at));
                    prop_assert_eq!(news, None);
                    unknown_since = None;
                }
                Verdict::Idle(since) => {
                    prop_assert_eq!(*since, now);
                    prop_assert_eq!(before, now);
                    prop_assert!(found.kernels == Some("idle") && found.traffic.is_some() && found.millis.is_some());
                }
                Verdict::Unknown(_) => {
                    prop_assert!(found.kernels.is_none() || found.traffic.is_none() || found.millis.is_none());
                    prop_assert_eq!(matches!(news, Some(News::UnknownBegan(_))), unknown_since.is_none());
                    let since = *unknown_since.get_or_insert(at);
                    prop_assert_eq!(now, before.max(t(at.min(since + 300))));
                }
            }
            if found.kernels == Some("busy") || found.person {
                prop_assert!(matches!(watch.verdict(), Verdict::Active(_)));
            }
        }
    }

    /// A lease on a watch ends a grant after the last activity, and never before a grant after its writing.
    #[test]
    fn a_lease_follows_its_watch(history in prop::collection::vec(found(), 1..20), grant in 1_i64..100_000) {
        let (mut watch, mut at) = (Watch::beginning(t(0)), 0);
        let lease = Lease::written(t(0), t(5), Grant::Millis(grant), LeaseKind::Idle);
        for found in history {
            at += found.after;
            let kernels = Ok(found.kernels.map(|state| kernel(state, "m")).into_iter().collect());
            watch.look(&Look { kernels, ..quiet(at) }, &RULES, Baseline::default());
            let end = watch.last_activity().max(t(5)).plus_millis(grant);
            prop_assert_eq!(watch.on(lease).expiry(), Some(end));
        }
    }
}
