//! Random calls of either API by two users over the same notebooks, and after each of them the server has answered as the
//! model says: status, code, and what is shown.
//!
//! What takes time is held until the sequence says that it is over, so that every status meets every call. The sequences
//! are the same in every run; with `PROPTEST_CASES` there are so many others. They have one server, one after another:
//! each leaves nothing behind.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use atelier_core::status::Status as Real;
use http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::house::{House, Reply, UNKNOWN};
use crate::model::call::{Answer, Api, Call};
use crate::model::sequence::{NUMBERS, Step, steps};
use crate::model::{Model, Notebook, Slip, Status};

/// How many sequences there are in every run.
const CASES: u32 = 40;
/// No sequence lasts longer: tokens last a day.
const LONGEST_MS: i64 = 23 * 3_600_000;
/// What the model says will happen has not, if it has not by then; nothing is waited for so long that does happen.
const NEVER: Duration = Duration::from_mins(1);

/// The server, and the model beside it.
struct Trial<'a> {
    house: &'a House,
    tokens: [String; 2],
    model: Model,
    last: i64,
}

impl<'a> Trial<'a> {
    /// An administrator, and a member of this name.
    async fn open(house: &'a House, member: &str, slip: Option<Slip>) -> Self {
        let (member, token) = house.member_named(member).await;
        let users = [house.first.user_id.to_string(), member.to_string()];
        let tokens = [house.project_token().await, token];
        let last = house.time.advance(0).as_millis() + LONGEST_MS;
        Self { house, tokens, model: Model { users, slip, ..Model::default() }, last }
    }

    fn now(&self) -> i64 {
        self.house.time.advance(0).as_millis()
    }

    /// Time goes on. Leases that end in it are waited for.
    async fn pass(&mut self, ms: i64) -> Result<(), String> {
        let now = self.house.time.advance(ms).as_millis();
        for id in self.model.lapse(now) {
            self.becomes(&id, Real::Stopping).await?;
        }
        Ok(())
    }

    async fn becomes(&self, id: &str, status: Real) -> Result<(), String> {
        let reached = timeout(NEVER, self.house.reaches(id, status)).await;
        reached.map_err(|_| format!("notebook {id} never becomes {status}, which the model says it does"))
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Call { at, by_owner, call } => {
                let (at, either) = (self.chosen(*at), at % 2);
                let owner = self.model.notebooks.get(at).map_or(either, |notebook| notebook.owner);
                let who = match call {
                    Call::Create { .. } | Call::CreateInstance { .. } | Call::List { .. } => either,
                    _ if *by_owner => owner,
                    _ => 1 - owner,
                };
                self.call(who, at, call).await?;
                if at < self.model.notebooks.len() {
                    let v1 = self.call(owner, at, &Call::Show(Api::V1)).await?;
                    let legacy = self.call(owner, at, &Call::Show(Api::Legacy)).await?;
                    let token = self.call(owner, at, &Call::InstanceToken).await?;
                    show_the_same(&v1, &legacy, &token)?;
                }
            }
            Step::Finish { nth, well } => {
                let busy: Vec<_> = (0..self.model.notebooks.len()).filter(|at| self.model.is_busy(*at)).collect();
                if !busy.is_empty() {
                    self.finish(busy[nth % busy.len()], *well).await?;
                }
            }
            Step::LeaseEnds => self.lease_ends().await?,
        }
        Ok(())
    }

    /// One of the notebooks that were ever made; the last number is of none.
    fn chosen(&self, at: usize) -> usize {
        let made = self.model.notebooks.len();
        if at + 1 == NUMBERS || made == 0 { made } else { at % made }
    }

    async fn call(&mut self, who: usize, at: usize, call: &Call) -> Result<Reply, String> {
        let id = self.model.notebooks.get(at).map_or(UNKNOWN, |notebook| &notebook.id).to_owned();
        let known = self.model.notebooks.len();
        let expected = self.model.answer(self.now(), who, at, call);
        let (method, rest, body) = call.request(&id);
        let reply = self.house.call(&self.tokens[who], method, &format!("{}{rest}", self.house.base()), &body).await;
        agrees(&expected, &reply).map_err(|why| format!("user {who}: {method} {rest} {body}: {why}"))?;
        if self.model.notebooks.len() > known {
            let id = reply.body["id"].as_str().unwrap_or_default().trim_start_matches("DE-");
            id.clone_into(&mut self.model.notebooks[known].id);
            self.house.gate.hold(id);
        }
        Ok(reply)
    }

    async fn finish(&mut self, at: usize, well: bool) -> Result<(), String> {
        let (gate, notebook) = (&self.house.gate, &self.model.notebooks[at]);
        let id = notebook.id.as_str();
        // A start first takes away what may be left of the former run.
        gate.let_go(id);
        match notebook.status {
            Status::Creating | Status::Starting if well => {
                gate.open_for(id);
                self.becomes(id, Real::Running).await?;
            }
            Status::Creating | Status::Starting => {
                gate.fail_for(id);
                self.becomes(id, Real::StartFailed).await?;
            }
            Status::Stopping => {
                self.becomes(id, Real::Stopped).await?;
            }
            Status::Deleting => {
                timeout(NEVER, self.house.is_gone(id)).await.map_err(|_| format!("notebook {id} is never gone"))?;
            }
            Status::Running | Status::Stopped | Status::StartFailed | Status::Gone => {}
        }
        gate.close_for(id);
        gate.hold(id);
        let now = self.now();
        self.model.finish(at, now, well);
        Ok(())
    }

    async fn lease_ends(&mut self) -> Result<(), String> {
        for at in 0..self.model.notebooks.len() {
            self.finish(at, true).await?;
        }
        let next = self.model.notebooks.iter().filter_map(Notebook::ends).min();
        match next.filter(|end| *end < self.last) {
            Some(end) => self.pass(end - self.now()).await,
            None => Ok(()),
        }
    }

    /// Takes away what is left, whatever the model thinks of it.
    async fn clear(&self) {
        for token in &self.tokens {
            let target = format!("{}/notebooks", self.house.base());
            let left = self.house.call(token, "GET", &format!("{target}?limit=50"), &Value::Null).await.body;
            for id in left["data"].as_array().unwrap().iter().map(|notebook| notebook["id"].as_str().unwrap()) {
                self.house.gate.let_go(id);
                self.house.call(token, "DELETE", &format!("{target}/{id}"), &Value::Null).await;
                timeout(NEVER, self.house.is_gone(id)).await.unwrap();
            }
        }
    }
}

fn agrees(expected: &Answer, reply: &Reply) -> Result<(), String> {
    if (reply.status.as_u16(), reply.code()) != (expected.http, expected.code) {
        let (http, code) = (expected.http, expected.code);
        return Err(format!("{} {}, where the model says {http} {code}", reply.status, reply.body));
    }
    differs(&expected.body, &reply.body, "").map_or(Ok(()), Err)
}

/// What the model does not know is still the same, whichever API shows it.
fn show_the_same(v1: &Reply, legacy: &Reply, token: &Reply) -> Result<(), String> {
    let (notebook, instance) = (&v1.body, &legacy.body);
    if (v1.status, legacy.status) != (StatusCode::OK, StatusCode::OK) {
        return Ok(());
    }
    let pairs = [
        (&instance["creation_timestamp"], &json!(notebook["create_at"].to_string())),
        (&instance["latest_update_timestamp"], &json!(notebook["update_at"].to_string())),
        (&instance["spec"]["storage"]["location"]["volume_size"], &notebook["volume"]["capacity"]),
        (&instance["user"]["id"], &notebook["user_id"]),
        (&instance["workspace"]["id"], &notebook["workspace_id"]),
        (&instance["flavor"], &notebook["flavor"]),
        (&token.body["token"], if token.status == StatusCode::OK { &notebook["token"] } else { &Value::Null }),
    ];
    let differs = pairs.iter().find(|(one, other)| one != other);
    differs.map_or(Ok(()), |(one, other)| Err(format!("the legacy API shows {one}, the other one {other}: {notebook}")))
}

/// Where the answer is not what the model says; what the model does not speak of may be anything.
fn differs(expected: &Value, answer: &Value, path: &str) -> Option<String> {
    match (expected, answer) {
        (Value::Object(members), answer) => {
            members.iter().find_map(|(name, member)| differs(member, &answer[name], &format!("{path}.{name}")))
        }
        (Value::Array(items), Value::Array(found)) if items.len() == found.len() => items
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(at, (item, found))| differs(item, found, &format!("{path}[{at}]"))),
        (expected, answer) if expected == answer => None,
        (expected, answer) => Some(format!("`{path}` is {answer}, where the model says {expected}")),
    }
}

async fn run(house: &House, member: &str, steps: &[(Step, i64)], slip: Option<Slip>) -> Result<(), String> {
    let mut trial = Trial::open(house, member, slip).await;
    let mut outcome = Ok(());
    for (step, ms) in steps {
        outcome = async {
            trial.pass(*ms).await?;
            trial.step(step).await
        }
        .await;
        if outcome.is_err() {
            break;
        }
    }
    trial.clear().await;
    outcome
}

/// Runs many; the least sequence that fails, and why.
fn run_many(slip: Option<Slip>) -> Result<(), String> {
    let random = std::env::var_os("PROPTEST_CASES").is_some() && slip.is_none();
    let config = ProptestConfig { failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() };
    let mut runner = if random {
        TestRunner::new(config)
    } else {
        // A mistake that was made on purpose need not be made small.
        let most = if slip.is_some() { 0 } else { config.max_shrink_iters };
        let config = ProptestConfig { cases: CASES, max_shrink_iters: most, ..config };
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (house, members) = (runtime.block_on(House::open()), Cell::new(0));
    let outcome = runner.run(&steps(), |steps| {
        let member = format!("member-{}", members.replace(members.get() + 1));
        runtime.block_on(run(&house, &member, &steps, slip)).map_err(TestCaseError::fail)
    });
    runtime.block_on(house.engine.shut_down());
    outcome.map_err(|error| match error {
        TestError::Fail(why, steps) => format!("{why}\nafter {steps:#?}"),
        TestError::Abort(why) => why.to_string(),
    })
}

#[test]
fn both_apis_answer_two_users_as_the_model_says() {
    run_many(None).unwrap_or_else(|why| panic!("{why}"));
}

/// A model with a mistake in it does not agree with the server: the sequences reach what it is wrong about, and the
/// comparison sees it.
#[test]
fn a_mistake_in_the_model_is_found() {
    for slip in [Slip::RenewalAdds, Slip::ForeignIsShown, Slip::FieldsAreAlwaysOpen, Slip::LegacyDeletesWhatRuns] {
        let why = run_many(Some(slip)).expect_err("it was not found");
        assert!(why.contains("where the model says"), "{slip:?}: {why}");
    }
}

#[test]
fn the_comparison_sees_what_differs() {
    let model = json!({"a": 1, "b": {"c": null}, "d": [{"e": "x"}]});
    let same = json!({"a": 1, "b": {}, "d": [{"e": "x", "f": 2}], "g": 3});
    assert_eq!(differs(&model, &same, ""), None);
    let paths: BTreeSet<_> = [
        json!({"a": 2, "b": {}, "d": [{"e": "x"}]}),
        json!({"a": 1, "b": {"c": 0}, "d": [{"e": "x"}]}),
        json!({"a": 1, "b": {}, "d": []}),
        json!({"a": 1, "b": {}, "d": [{"e": "y"}]}),
    ]
    .iter()
    .map(|answer| differs(&model, answer, "").unwrap().split(' ').next().unwrap().to_owned())
    .collect();
    assert_eq!(paths, BTreeSet::from(["`.a`", "`.b.c`", "`.d`", "`.d[0].e`"].map(str::to_owned)));
}
