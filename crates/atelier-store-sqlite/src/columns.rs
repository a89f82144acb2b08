//! Between values and columns: how ids, numbers, names and origins are written, and how they are read back.
//!
//! Reading never guesses. A value that this version does not know is [`StoreError::Unreadable`], and the message names
//! the column but not the value.

use std::collections::BTreeMap;

use atelier_core::Timestamp;
use atelier_core::caller::{Actor, Origin};
use atelier_core::hook::{Action, Hook, Hooks, Mode, Moment};
use atelier_core::operation::{StepName, StepRecord, StepState};
use atelier_core::refusal::Refusal;
use atelier_core::status::Status;
use atelier_core::tags::{TagKey, TagValue, Tags};
use atelier_store::StoreError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The value in `column` cannot be.
pub(crate) fn unreadable(column: &str) -> StoreError {
    StoreError::Unreadable(format!("`{column}` holds a value that this version does not know"))
}

/// A UUID from its 16 bytes.
pub(crate) fn uuid(column: &str, bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|_| unreadable(column))
}

/// Anything that is read from its text.
pub(crate) fn parsed<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| unreadable(column))
}

/// The one of `all` that is stored under the name `text`.
pub(crate) fn named<T: Copy>(
    column: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    text: &str,
) -> Result<T, StoreError> {
    all.iter().copied().find(|&one| name(one) == text).ok_or_else(|| unreadable(column))
}

/// The statuses that are wanted, as JSON.
pub(crate) fn statuses(wanted: impl Fn(Status) -> bool) -> String {
    let wanted = Status::ALL.into_iter().filter(|status| wanted(*status));
    wanted.map(Status::as_str).collect::<serde_json::Value>().to_string()
}

/// A number that the code knows to be smaller than the engine's.
pub(crate) fn number<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| unreadable(column))
}

/// The engine's integer for `value`; its largest is 2^63 − 1.
pub(crate) fn integer(column: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Engine(format!("`{column}` cannot hold {value}")))
}

/// An origin, column by column.
pub(crate) struct OriginColumns<'a> {
    pub(crate) actor: &'static str,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) user_name: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
}

impl<'a> From<&'a Origin> for OriginColumns<'a> {
    fn from(origin: &'a Origin) -> Self {
        let (actor, user_id, user_name) = match &origin.actor {
            Actor::User(id, name) => ("user", Some(id.as_str()), Some(name.as_str())),
            Actor::Lease => ("lease", None, None),
            Actor::System => ("system", None, None),
        };
        Self { actor, user_id, user_name, request_id: origin.request_id.as_deref() }
    }
}

/// An origin from its columns.
pub(crate) fn origin(
    actor: &str,
    user_id: Option<&str>,
    user_name: Option<String>,
    request_id: Option<String>,
) -> Result<Origin, StoreError> {
    let actor = match (actor, user_id, user_name) {
        ("user", Some(id), Some(name)) => Actor::User(parsed("actor_user_id", id)?, name),
        ("lease", ..) => Actor::Lease,
        ("system", ..) => Actor::System,
        _ => return Err(unreadable("actor")),
    };
    Ok(Origin { actor, request_id })
}

/// A step as it lies in `operation_steps`, which is written and read as JSON, and in `notebooks.progress`.
#[derive(Serialize, Deserialize)]
struct StepRow {
    name: String,
    state: String,
    attempts: i64,
    began_at: Option<i64>,
    ended_at: Option<i64>,
    note: Option<String>,
}

impl From<&StepRecord> for StepRow {
    fn from(step: &StepRecord) -> Self {
        Self {
            name: step.name.as_str().into(),
            state: step.state.as_str().into(),
            attempts: step.attempts.into(),
            began_at: step.began_at.map(Timestamp::as_millis),
            ended_at: step.ended_at.map(Timestamp::as_millis),
            note: step.note.clone(),
        }
    }
}

impl TryFrom<StepRow> for StepRecord {
    type Error = StoreError;

    fn try_from(row: StepRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: named("name of a step", &StepName::ALL, StepName::as_str, &row.name)?,
            state: named("state of a step", &StepState::ALL, StepState::as_str, &row.state)?,
            attempts: number("attempts", row.attempts)?,
            began_at: row.began_at.map(Timestamp::from_millis),
            ended_at: row.ended_at.map(Timestamp::from_millis),
            note: row.note,
        })
    }
}

/// Steps as JSON.
pub(crate) fn steps_to_json(steps: &[StepRecord]) -> Result<String, StoreError> {
    let rows: Vec<StepRow> = steps.iter().map(StepRow::from).collect();
    serde_json::to_string(&rows).map_err(|e| StoreError::Engine(e.to_string()))
}

/// Steps from JSON.
pub(crate) fn steps_from_json(column: &str, json: &str) -> Result<Vec<StepRecord>, StoreError> {
    let rows: Vec<StepRow> = serde_json::from_str(json).map_err(|_| unreadable(column))?;
    rows.into_iter().map(StepRecord::try_from).collect()
}

/// A hook as it lies in `notebooks.hooks`, an object of them by their moments.
#[derive(Serialize, Deserialize)]
struct HookRow {
    #[serde(flatten)]
    action: ActionRow,
    mode: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionRow {
    Command(String),
    Script(String),
}

impl From<&Hook> for HookRow {
    fn from(hook: &Hook) -> Self {
        let action = match hook.action().clone() {
            Action::Command(text) => ActionRow::Command(text),
            Action::Script(path) => ActionRow::Script(path),
        };
        Self { action, mode: hook.mode().as_str().into() }
    }
}

/// Hooks as a JSON object; `None` for none.
pub(crate) fn hooks_to_json(hooks: &Hooks) -> Result<Option<String>, StoreError> {
    let present = Moment::ALL.into_iter().filter_map(|at| Some((at.as_str(), HookRow::from(hooks.at(at)?))));
    let rows: BTreeMap<&str, HookRow> = present.collect();
    let json = (!rows.is_empty()).then(|| serde_json::to_string(&rows));
    json.transpose().map_err(|e| StoreError::Engine(e.to_string()))
}

/// Hooks from a JSON object.
pub(crate) fn hooks_from_json(column: &str, json: Option<&str>) -> Result<Hooks, StoreError> {
    let Some(json) = json else { return Ok(Hooks::default()) };
    let mut rows: BTreeMap<String, HookRow> = serde_json::from_str(json).map_err(|_| unreadable(column))?;
    let mut take = |at: Moment| rows.remove(at.as_str()).map(|row| hook(column, row)).transpose();
    let hooks = Hooks { pre_start: take(Moment::PreStart)?, post_start: take(Moment::PostStart)? };
    if rows.is_empty() { Ok(hooks) } else { Err(unreadable(column)) }
}

fn hook(column: &str, row: HookRow) -> Result<Hook, StoreError> {
    let action = match row.action {
        ActionRow::Command(text) => Action::Command(text),
        ActionRow::Script(path) => Action::Script(path),
    };
    let mode = named(column, &Mode::ALL, Mode::as_str, &row.mode)?;
    Hook::new(column, action, mode).map_err(|_: Refusal| unreadable(column))
}

/// Tags as a JSON object.
pub(crate) fn tags_to_json(tags: &Tags) -> Result<String, StoreError> {
    let texts: BTreeMap<&str, &str> = tags.iter().collect();
    serde_json::to_string(&texts).map_err(|e| StoreError::Engine(e.to_string()))
}

/// Tags from a JSON object.
pub(crate) fn tags_from_json(column: &str, json: &str) -> Result<Tags, StoreError> {
    if json == "{}" {
        return Ok(Tags::none());
    }
    let texts: BTreeMap<String, String> = serde_json::from_str(json).map_err(|_| unreadable(column))?;
    let tags: Result<Vec<_>, _> =
        texts.iter().map(|(key, value)| Ok((TagKey::new(column, key)?, TagValue::new(column, value)?))).collect();
    tags.and_then(Tags::new).map_err(|_: Refusal| unreadable(column))
}
