//! Random sequences of calls.

use proptest::prelude::*;

use super::call::{Api, AutoStop, Call};

/// Calls are about a notebook with a number below this.
pub(crate) const NUMBERS: usize = 12;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A call about a notebook, by its owner or by the other user; a create or a list by either.
    Call { at: usize, by_owner: bool, call: Call },
    /// One of the notebooks with which something is under way: it is over.
    Finish { nth: usize, well: bool },
    /// All that is under way is over, and time goes on to the next end of a lease.
    LeaseEnds,
}

fn name() -> impl Strategy<Value = String> {
    (0..4).prop_map(|n| format!("nb-{n}"))
}

fn description() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "first words", "second words"]).prop_map(str::to_owned)
}

fn tag() -> impl Strategy<Value = (String, String)> {
    (0..3, 0..3).prop_map(|(key, value)| (format!("k{key}"), format!("v{value}")))
}

/// Milliseconds of the present API: absent, never, some hours, and now and then what is out of range.
fn duration() -> impl Strategy<Value = Option<i64>> {
    let wrong = prop::sample::select(vec![1, 3_599_999, 259_200_001]);
    prop_oneof![
        2 => Just(None), 1 => Just(Some(-1)), 1 => Just(Some(0)), 6 => (3_600_000..=20_000_000_i64).prop_map(Some),
        1 => wrong.prop_map(Some),
    ]
}

fn auto_stop() -> impl Strategy<Value = AutoStop> {
    let wrong = prop::sample::select(vec![0, 3599, 86_401]);
    prop_oneof![
        2 => Just(AutoStop::Unsaid), 2 => Just(AutoStop::Off), 6 => (3600..=20_000_i64).prop_map(AutoStop::After),
        1 => wrong.prop_map(AutoStop::After),
    ]
}

fn api() -> impl Strategy<Value = Api> {
    prop::sample::select(vec![Api::V1, Api::Legacy])
}

fn call() -> impl Strategy<Value = Call> {
    let words = ["CREATING", "STARTING", "RUNNING", "STOPPING", "STOPPED", "START_FAILED"];
    let asked = prop::option::of(prop::sample::select(words.to_vec()));
    prop_oneof![
        5 => create(),
        2 => api().prop_map(Call::Show),
        3 => (api(), asked).prop_map(|(api, status)| Call::List { api, status }),
        3 => duration().prop_map(|duration| Call::Start { duration }),
        2 => Just(Call::StartInstance),
        5 => api().prop_map(Call::Stop),
        3 => api().prop_map(Call::Delete),
        1 => Just(Call::Lease),
        4 => duration().prop_map(|duration| Call::Renew { duration }),
        4 => (prop::option::of(name()), prop::option::of(description()))
            .prop_map(|(name, description)| Call::Update { name, description }),
        3 => (prop::option::of(description()), auto_stop())
            .prop_map(|(description, auto_stop)| Call::UpdateInstance { description, auto_stop }),
        2 => tag().prop_map(|(key, value)| Call::Tag { key, value }),
        1 => tag().prop_map(|(key, _)| Call::Untag { key }),
        1 => Just(Call::InstanceToken),
    ]
}

fn create() -> impl Strategy<Value = Call> {
    let tags = prop::collection::btree_map("k[0-2]", "v[0-2]", 0..3).prop_map(|tags| tags.into_iter().collect());
    let named = (name(), auto_stop()).prop_map(|(name, auto_stop)| Call::CreateInstance { name, auto_stop });
    let tagged = (name(), description(), duration(), tags)
        .prop_map(|(name, description, duration, tags)| Call::Create { name, description, duration, tags });
    prop_oneof![tagged, named]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => (0..NUMBERS, prop::bool::weighted(0.85), call())
            .prop_map(|(at, by_owner, call)| Step::Call { at, by_owner, call }),
        7 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(nth, well)| Step::Finish { nth, well }),
        1 => Just(Step::LeaseEnds),
    ]
}

/// At most thirty steps, the first of them a create, and how many milliseconds pass before each.
pub(crate) fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let first = create().prop_map(|call| Step::Call { at: 0, by_owner: true, call });
    let rest = prop::collection::vec((step(), 1..200_i64), 15..=29);
    (first, rest).prop_map(|(first, rest)| [(first, 1)].into_iter().chain(rest).collect())
}
