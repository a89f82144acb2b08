//! Every field that the contract documents of a notebook is there, in every answer that shows one.
//!
//! A create that sets all that may be set, and then every status that a field may depend on. In each of them the notebook
//! is shown, listed, and updated with what it has already, which is accepted in every status. A field that is missing from
//! one of these answers stands in `contract/absences.toml` with its line of the contract and the reason, or this fails; so
//! does a listed one that is there. What the contract itself has only at times is said in [`due`], and must be absent at
//! all others.

use std::collections::{BTreeMap, BTreeSet};

use atelier_core::flavor::CUSTOM;
use atelier_core::image::BUILT_IN;
use atelier_core::pool::Pool;
use atelier_core::status::Status;
use atelier_runtime::Root;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{self, Place};
use crate::differences::{CONTRACT, Document, Field, Fields, line_of, parent};
use crate::house::{House, NOON, Plan, Reply, UNKNOWN};
use crate::pools::with_pools;
use crate::refusals::{self, Treatment};

const LISTED: &str = include_str!("../../../../contract/absences.toml");

/// How many fields may be absent.
const CEILING: usize = 25;

/// What the contract says of an image inside a notebook, and the fields that follow from it.
const OF_AN_IMAGE: &str = "Inside a notebook only id, name, swr_path, type and often description and tag are filled.";
const IMAGE: [&str; 6] = ["id", "name", "swr_path", "type", "description", "tag"];

/// What an answer to a create cannot hold, because the notebook has never run.
const NOT_YET: [&str; 4] = ["Notebook.fail_reason", "Notebook.url", "EndpointRes", "VolumeRes.status"];

#[derive(Deserialize)]
struct Listed {
    absence: Vec<Absence>,
}

#[derive(Deserialize)]
struct Absence {
    field: String,
    line: usize,
    why: String,
}

/// Answers, beside the contract.
struct Reading {
    contract: BTreeMap<&'static str, Fields>,
    listed: BTreeMap<String, usize>,
    /// What was missed, and its line in the contract.
    missed: BTreeMap<String, usize>,
    wrong: BTreeSet<String>,
    /// Operations, and the fields that they answered with.
    seen: BTreeSet<(&'static str, String)>,
}

impl Reading {
    fn new() -> Self {
        let document = Document(contract::contract());
        let operations = document.operations();
        let fields = |id| (id, of_answer(&document.fields(id, operations[id].1)));
        let listed: Listed = toml::from_str(LISTED).unwrap();
        assert!(listed.absence.iter().all(|absence| absence.why.len() > 20), "an absence without a reason");
        let lines: BTreeMap<_, _> =
            listed.absence.iter().map(|absence| (absence.field.clone(), absence.line)).collect();
        assert_eq!(lines.len(), listed.absence.len(), "an absence is listed twice");
        Self {
            contract: ["CreateNotebook", "ShowNotebook", "ListNotebooks", "UpdateNotebook"].map(fields).into(),
            listed: lines,
            missed: BTreeMap::new(),
            wrong: BTreeSet::new(),
            seen: BTreeSet::new(),
        }
    }

    fn answer(&mut self, operation: &'static str, answer: &Value, growing: bool) {
        for (path, field) in &self.contract[operation].clone() {
            for (owner, value) in places(answer, path) {
                self.value(operation, path, field, value, due(&name(field, path), owner, growing));
            }
        }
    }

    fn value(&mut self, operation: &'static str, path: &str, field: &Field, value: Option<&Value>, due: bool) {
        let name = name(field, path);
        match value {
            None if due => {
                self.missed.insert(name, line_of(operation, &field.declared));
            }
            None => {}
            Some(value) if !due => {
                self.wrong.insert(format!("{operation} {path}: {value}, where the contract has none"));
            }
            Some(value) if !is_a(value, &field.types) => {
                self.wrong.insert(format!("{operation} {path}: {value}, not {:?}", field.types));
            }
            Some(_) => {
                self.seen.insert((operation, name));
            }
        }
    }

    /// What is wrong: values that should not be, what is missing and not listed, and what is listed and there.
    fn verdict(&self) -> Vec<String> {
        let unlisted = self.missed.iter().filter(|(name, line)| self.listed.get(*name) != Some(line));
        let unlisted = unlisted.map(|(name, line)| format!("{name}, line {line}: missing, and not listed"));
        let gone = self.listed.iter().filter(|(name, _)| !self.missed.contains_key(*name));
        let gone = gone.map(|(name, line)| format!("{name}, line {line}: listed, and not missing"));
        let both = self.seen.iter().filter(|(_, name)| self.missed.contains_key(name));
        let both = both.map(|(operation, name)| format!("{name}: missing, but not from {operation}"));
        unlisted.chain(gone).chain(both).chain(self.wrong.iter().cloned()).collect()
    }

    /// Fields that no answer had the occasion to show.
    fn unseen(&self) -> Vec<String> {
        let mut unseen = Vec::new();
        for (operation, fields) in &self.contract {
            for (path, field) in fields {
                let name = name(field, path);
                let excused = *operation == "CreateNotebook" && NOT_YET.iter().any(|early| name.starts_with(early));
                if !excused && !self.is_hidden(fields, path) && !self.seen.contains(&(operation, name.clone())) {
                    unseen.push(format!("{operation} {path}"));
                }
            }
        }
        unseen
    }

    /// Whether it is listed, or inside something that is.
    fn is_hidden(&self, fields: &Fields, path: &str) -> bool {
        let Some(field) = fields.get(path) else { return false };
        self.listed.contains_key(&name(field, path)) || parent(path).is_some_and(|above| self.is_hidden(fields, above))
    }
}

/// The fields of the answer, as its members say them.
fn of_answer(fields: &Fields) -> Fields {
    let own = fields.iter().filter_map(|(path, field)| Some((path.strip_prefix("200.")?.to_owned(), field.clone())));
    own.filter(|(_, field)| field.declared.schema != "Image" || IMAGE.contains(&field.declared.name.as_str())).collect()
}

fn name(field: &Field, path: &str) -> String {
    field.declared.shown("", path)
}

/// What stands at a path, once for each object that it may stand in: that object, and the value.
fn places<'a>(object: &'a Value, path: &str) -> Vec<(&'a Value, Option<&'a Value>)> {
    let Some((head, rest)) = path.split_once('.') else {
        return vec![(object, object.get(path).filter(|value| !value.is_null()))];
    };
    match head.strip_suffix("[]") {
        Some(list) => object[list].as_array().into_iter().flatten().flat_map(|item| places(item, rest)).collect(),
        None => object.get(head).filter(|inner| inner.is_object()).map_or(vec![], |inner| places(inner, rest)),
    }
}

fn is_a(value: &Value, types: &BTreeSet<String>) -> bool {
    let has = |kind: &str| types.contains(kind);
    match value {
        Value::Null => false,
        Value::Bool(_) => has("boolean"),
        Value::Number(number) => has("number") || (has("integer") && !number.is_f64()),
        Value::String(_) => has("string"),
        Value::Array(_) => has("array"),
        Value::Object(_) => has("object"),
    }
}

/// Whether the contract has the field at this time. What its notes say, for want of a word for it in schemas.
fn due(name: &str, owner: &Value, growing: bool) -> bool {
    let status: Option<Status> = owner["status"].as_str().and_then(|word| word.parse().ok());
    match (name, status) {
        ("Notebook.action_progress", Some(status)) => {
            matches!(status, Status::Init | Status::Creating | Status::Starting)
        }
        ("Notebook.fail_reason", Some(status)) => status.is_failed(),
        // Here a notebook that failed never ran.
        ("Notebook.url", Some(status)) => !matches!(status, Status::Init | Status::Creating) && !status.is_failed(),
        ("VolumeRes.status", _) => growing,
        ("VolumeRes.uri" | "VolumeRes.id", _) => owner["ownership"] == "DEDICATED",
        ("VolumeRes.capacity", _) => owner["ownership"] == "MANAGED",
        _ => true,
    }
}

/// Where a notebook may say its size itself.
fn team() -> Pool {
    Pool {
        id: "team-a".into(),
        name: "Team A".into(),
        cpu_millis: 8000,
        memory_mib: 8192,
        flavors: Vec::new(),
        notebooks_per_user: None,
    }
}

/// A body with every field that is taken.
fn everything() -> Value {
    json!({
        "name": "everything", "description": "set", "feature": "NOTEBOOK", "pool_id": "team-a", "flavor": CUSTOM,
        "custom_spec": {"cpu": 0.5, "memory": 600, "arch": std::env::consts::ARCH, "category": "CPU"},
        "image_id": BUILT_IN.to_string(), "workspace_id": "0", "duration": 7_200_000,
        "lease": {"duration": 3_600_000, "type": "IDLE", "enable": true},
        "volume": {
            "category": "EVS", "ownership": "MANAGED", "capacity": 6, "read_only": false,
            "mount_path": "/home/ma-user/work/",
        },
        "endpoints": [{"service": "NOTEBOOK", "dev_service": "NOTEBOOK"}],
        "tags": [{"key": "team", "value": "a"}],
        "hooks": {"container_hooks": {
            "pre_start": {"script": "dHJ1ZQ==", "type": "COMMAND", "mode": "BLOCK"},
            "post_start": {"script": "/home/ma-user/work/after.sh", "type": "SCRIPT", "mode": "ASYNC"},
        }},
    })
}

/// The table of refusals says of each field of the contract whether it is taken: these all are set.
#[test]
fn the_create_sets_every_field_that_is_taken() {
    let operation = contract::operations().into_iter().find(|operation| operation.id == "CreateNotebook").unwrap();
    let taken = operation.fields.iter().filter(|field| field.place == Place::Body).filter(|field| {
        refusals::treatment("CreateNotebook", field).is_some_and(|treatment| treatment != Treatment::NotOffered)
    });
    let body = everything();
    let unset: Vec<_> =
        taken.filter(|field| places(&body, &field.path).iter().all(|(_, value)| value.is_none())).collect();
    assert!(unset.is_empty(), "{unset:?}");
}

/// A house, and the answers of it that are read.
struct Story {
    house: House,
    token: String,
    reading: Reading,
}

impl Story {
    async fn call(&self, method: &str, rest: &str, body: Value) -> Reply {
        let reply =
            self.house.call(&self.token, method, &format!("{}/notebooks{rest}", self.house.base()), &body).await;
        assert_eq!(reply.status, 200, "{method} {rest}: {}", reply.body);
        reply
    }

    async fn create(&mut self) -> (String, Value) {
        self.create_on(everything()["volume"].take()).await
    }

    async fn create_on(&mut self, volume: Value) -> (String, Value) {
        let mut body = everything();
        body["volume"] = volume;
        let made = self.call("POST", "", body).await.body;
        self.reading.answer("CreateNotebook", &made, false);
        (made["id"].as_str().unwrap().to_owned(), made)
    }

    /// Changes it, and looks at it in every way.
    async fn look(&mut self, id: &str, change: Value, growing: bool) -> Value {
        let updated = self.call("PUT", &format!("/{id}"), change).await.body;
        let shown = self.call("GET", &format!("/{id}"), Value::Null).await.body;
        let listed = self.call("GET", &format!("?id={id}"), Value::Null).await.body;
        for (operation, answer) in [("UpdateNotebook", &updated), ("ShowNotebook", &shown), ("ListNotebooks", &listed)]
        {
            self.reading.answer(operation, answer, growing);
        }
        assert_eq!((&updated, &listed["data"]), (&shown, &json!([shown])));
        shown
    }
}

/// What was set is what is shown.
fn check_values(shown: &Value) {
    let body = everything();
    for field in ["name", "description", "feature", "flavor", "custom_spec", "workspace_id", "volume", "tags"] {
        assert_eq!(shown[field], body[field], "{field}");
    }
    assert_eq!((&shown["image"]["id"], &shown["pool"]["id"]), (&body["image_id"], &body["pool_id"]));
    // A duration wins over a lease.
    assert_eq!((&shown["lease"]["duration"], &shown["lease"]["type"]), (&body["duration"], &json!("TIMING")));
    assert_eq!(shown["create_at"], NOON.as_millis());
}

#[tokio::test]
async fn every_documented_field_is_there_or_listed() {
    assert!(CONTRACT.contains(OF_AN_IMAGE));
    let root = tempfile::tempdir().unwrap();
    let roots = vec![Root { uri: "nas:/export".parse().unwrap(), path: root.path().into() }];
    let house = House::planned(Plan { roots, ..with_pools(vec![team()]) }).await;
    let token = house.project_token().await;
    let mut story = Story { house, token, reading: Reading::new() };
    let (id, made) = story.create().await;
    check_values(&made);
    story.house.gate.is_before_a_door(&id).await;
    assert_eq!(story.look(&id, json!({"name": "everything"}), false).await["status"], "CREATING");

    story.house.gate.open_for(&id);
    story.house.reaches(&id, Status::Running).await;
    assert_eq!(story.look(&id, json!({"name": "other", "description": "new"}), false).await["description"], "new");
    story.house.gate.hold(&id);
    let growing = story.look(&id, json!({"storage_new_size": 7}), true).await;
    assert_eq!(growing["volume"]["status"], "RESIZING");

    story.house.gate.let_go(&id);
    story.call("POST", &format!("/{id}/stop"), Value::Null).await;
    story.house.reaches(&id, Status::Stopped).await;
    let change = json!({
        "flavor": CUSTOM, "custom_spec": {"cpu": 1, "memory": 700}, "image_id": BUILT_IN.to_string(),
        "endpoints": [{"service": "NOTEBOOK"}],
    });
    assert_eq!(story.look(&id, change, false).await["custom_spec"]["memory"], 700);

    let volume = json!({"category": "EFS", "ownership": "DEDICATED", "uri": "nas:/export", "id": UNKNOWN});
    let (elsewhere, _) = story.create_on(volume).await;
    story.house.gate.is_before_a_door(&elsewhere).await;
    assert_eq!(story.look(&elsewhere, json!({}), false).await["volume"]["id"], UNKNOWN);

    story.house.gate.break_starts();
    let (failed, _) = story.create().await;
    story.house.reaches(&failed, Status::StartFailed).await;
    story.look(&failed, json!({"name": "failed"}), false).await;

    let reading = story.reading;
    assert!(reading.verdict().is_empty(), "{}", reading.verdict().join("\n"));
    assert!(reading.unseen().is_empty(), "no answer could have shown:\n{}", reading.unseen().join("\n"));
    assert!(reading.listed.len() <= CEILING, "{} absences", reading.listed.len());
}

/// The reading sees what it is for.
#[test]
fn a_lost_field_and_a_wrong_type_are_seen() {
    let mut reading = Reading::new();
    let answer = json!({
        "status": "STOPPED", "lease": {"enable": true, "create_at": "noon", "duration": 1.5}, "fail_reason": "none",
        "affinity": {}, "tags": [{"value": "x"}],
    });
    reading.answer("ShowNotebook", &answer, false);
    let verdict = reading.verdict().join("\n");
    for part in [
        "Lease.update_at, line 3",
        "Notebook.name, line 3",
        "Tag.key, line 3",
        "ShowNotebook lease.create_at: \"noon\"",
        "ShowNotebook lease.duration: 1.5",
        "ShowNotebook fail_reason: \"none\"",
        "Notebook.affinity, line 3661: listed",
    ] {
        assert!(verdict.contains(part), "{part} in\n{verdict}");
    }
    for part in ["Lease.enable", "Tag.value", "action_progress"] {
        assert!(!verdict.contains(part), "{part} in\n{verdict}");
    }
}
