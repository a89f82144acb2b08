//! The served document beside the contract: operation by operation, field by field.
//!
//! Every difference stands in `contract/differences.toml` with the line of the contract and the reason. A difference that is
//! not listed fails, so does a listed one that is gone, and the list has a ceiling: it may only shrink.
//!
//! Compared are operations, parameters, and the fields of bodies and answers with their JSON types, and whether a request
//! must have them. Bounds, patterns and enums of requests are proved by calls instead: the table of refusals is made from
//! the contract.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

pub(crate) const CONTRACT: &str = include_str!("../../../../contract/devenviron.yaml");
const LISTED: &str = include_str!("../../../../contract/differences.toml");

/// How many differences there may be at most. Lower it when one is gone. Only an operation that becomes served may raise it:
/// its fields are compared from then on, and were hidden behind one line before.
const CEILING: usize = 100;

/// One difference: what it is, and the line of the contract that it departs from.
type Differences = BTreeMap<String, usize>;

#[derive(Deserialize)]
struct Listed {
    group: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    why: String,
    differences: Vec<String>,
}

/// A field: its JSON types, whether it is required, and where it is declared.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) types: BTreeSet<String>,
    required: bool,
    pub(crate) declared: Declared,
}

/// The schema that declares a field, and its name there.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl Declared {
    /// A schema of the contract is declared once and used often: a difference in it is one.
    pub(crate) fn shown(&self, id: &str, path: &str) -> String {
        let Self { schema, name } = self;
        if schema.is_empty() || schema == id { format!("{id} {path}") } else { format!("{schema}.{name}") }
    }
}

/// The fields of one operation: `query.limit`, `body.volume.capacity`, `200.data[].id`.
pub(crate) type Fields = BTreeMap<String, Field>;

pub(crate) struct Document(pub(crate) Value);

impl Document {
    pub(crate) fn operations(&self) -> BTreeMap<String, (String, &Value)> {
        let mut operations = BTreeMap::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let place = format!("{} {path}", method.to_uppercase());
                operations.insert(operation["operationId"].as_str().unwrap().to_owned(), (place, operation));
            }
        }
        operations
    }

    pub(crate) fn fields(&self, id: &str, operation: &Value) -> Fields {
        let mut fields = Fields::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = self.resolved(parameter).0;
            let name = parameter["name"].as_str().unwrap();
            let field = Field {
                types: self.types(&parameter["schema"]),
                required: parameter["required"] == true,
                declared: Declared { schema: id.to_owned(), name: name.to_owned() },
            };
            fields.insert(format!("{}.{name}", parameter["in"].as_str().unwrap()), field);
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        self.members(body, "body", true, &mut vec![], &mut fields);
        for status in ["200", "201", "204"] {
            let answer = self.resolved(&operation["responses"][status]).0;
            self.members(&answer["content"]["application/json"]["schema"], "200", false, &mut vec![], &mut fields);
        }
        fields
    }

    /// The members of an object and of what its arrays hold; of a schema that holds itself, one round.
    fn members(&self, schema: &Value, prefix: &str, request: bool, above: &mut Vec<String>, fields: &mut Fields) {
        let (object, name) = self.resolved(schema);
        if let Some(name) = &name {
            if above.contains(name) {
                return;
            }
            above.push(name.clone());
        }
        let required: Vec<_> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (member, schema) in object["properties"].as_object().into_iter().flatten() {
            let path = format!("{prefix}.{member}");
            let declared = Declared { schema: name.clone().unwrap_or_default(), name: member.clone() };
            let required = request && required.contains(&member.as_str());
            fields.insert(path.clone(), Field { types: self.types(schema), required, declared });
            self.members(schema, &path, request, above, fields);
        }
        for part in object["allOf"].as_array().into_iter().flatten() {
            self.members(part, prefix, request, above, fields);
        }
        for part in ["oneOf", "anyOf"].into_iter().flat_map(|key| object[key].as_array().into_iter().flatten()) {
            self.members(part, prefix, request, above, fields);
        }
        if object.get("items").is_some() {
            self.members(&object["items"], &format!("{prefix}[]"), request, above, fields);
        }
        if name.is_some() {
            above.pop();
        }
    }

    /// Follows references; also says which schema of the document it was.
    fn resolved<'a>(&'a self, schema: &'a Value) -> (&'a Value, Option<String>) {
        let Some(reference) = schema["$ref"].as_str() else { return (schema, None) };
        let found = self.0.pointer(reference.trim_start_matches('#')).unwrap();
        let name = reference.rsplit('/').next().map(str::to_owned);
        let (deeper, its) = self.resolved(found);
        (deeper, its.or(name))
    }

    /// The JSON types that a schema admits; null is the same as absent.
    fn types(&self, schema: &Value) -> BTreeSet<String> {
        let schema = self.resolved(schema).0;
        let mut types = BTreeSet::new();
        match &schema["type"] {
            Value::String(one) => {
                types.insert(one.clone());
            }
            Value::Array(several) => types.extend(several.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
        for key in ["oneOf", "anyOf", "allOf"] {
            for part in schema[key].as_array().into_iter().flatten() {
                types.extend(self.types(part));
            }
        }
        types.remove("null");
        types
    }
}

fn found() -> Differences {
    let theirs = Document(crate::contract::contract());
    let ours = Document(serde_json::to_value(atelier_api::document()).unwrap());
    let (served, mut found) = (ours.operations(), Differences::new());
    for (id, (place, operation)) in theirs.operations() {
        let at = line_of_operation(&id);
        match served.get(&id) {
            None => {
                found.insert(format!("{id}: not served"), at);
            }
            Some((elsewhere, _)) if *elsewhere != place => {
                found.insert(format!("{id}: served as {elsewhere}"), at);
            }
            Some((_, own)) => compare(&id, &theirs.fields(&id, operation), &ours.fields(&id, own), &mut found),
        }
    }
    found
}

fn compare(id: &str, theirs: &Fields, ours: &Fields, found: &mut Differences) {
    for (path, field) in theirs {
        let (at, name) = (|| line_of(id, &field.declared), field.declared.shown(id, path));
        let Some(own) = ours.get(path) else {
            // What is inside a field that is absent needs no line of its own.
            if parent(path).is_none_or(|parent| ours.contains_key(parent) || !theirs.contains_key(parent)) {
                found.insert(format!("{name}: absent"), at());
            }
            continue;
        };
        if own.types != field.types && !field.types.is_empty() {
            let (own, field) = (shown(&own.types), shown(&field.types));
            found.insert(format!("{name}: {own}, not {field}"), at());
        }
        if own.required != field.required {
            let own = if own.required { "required" } else { "not required" };
            found.insert(format!("{name}: {own}"), at());
        }
    }
    for (path, own) in ours.iter().filter(|(path, _)| !theirs.contains_key(*path)) {
        let (parent, whole) = (parent(path), line_of_operation(id));
        if parent.is_none_or(|parent| theirs.contains_key(parent) || !ours.contains_key(parent)) {
            let above = || parent.and_then(|parent| theirs.get(parent)).map(|field| line_of(id, &field.declared));
            let (name, at) = match line_of_schema(&own.declared.schema) {
                Some(at) => (own.declared.shown(id, path), at + 1),
                None => (format!("{id} {path}"), above().unwrap_or(whole)),
            };
            found.insert(format!("{name}: only here"), at);
        }
    }
}

pub(crate) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('.').map(|(parent, _)| parent.trim_end_matches("[]"))
}

fn shown(types: &BTreeSet<String>) -> String {
    if types.is_empty() { "any".to_owned() } else { types.iter().cloned().collect::<Vec<_>>().join("|") }
}

/// The line that names the operation, counted from 1.
fn line_of_operation(id: &str) -> usize {
    let wanted = format!("operationId: {id}");
    CONTRACT.lines().position(|line| line.trim() == wanted).unwrap() + 1
}

/// The line that names a schema, counted from 0.
fn line_of_schema(schema: &str) -> Option<usize> {
    let wanted = format!("    {schema}:");
    CONTRACT.lines().position(|line| line == wanted)
}

/// The line that declares a field: below its schema, else below its operation.
pub(crate) fn line_of(id: &str, declared: &Declared) -> usize {
    let start = line_of_schema(&declared.schema).unwrap_or_else(|| line_of_operation(id));
    let names = [format!("{}:", declared.name), format!("- name: {}", declared.name)];
    let own = CONTRACT.lines().skip(start).position(|line| names.iter().any(|name| line.trim() == name));
    own.map_or(start, |own| start + own) + 1
}

#[test]
fn every_difference_from_the_contract_is_listed_with_its_reason() {
    let listed: Listed = toml::from_str(LISTED).unwrap();
    assert!(listed.group.iter().all(|group| group.why.len() > 20), "a group without a reason");
    let all: Vec<_> = listed.group.into_iter().flat_map(|group| group.differences).collect();
    let rows: BTreeSet<_> = found().into_iter().map(|(what, line)| format!("{line} {what}")).collect();
    let listed: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(listed.len(), all.len(), "a difference is listed twice");
    let shown = |rows: BTreeSet<&String>| rows.iter().map(|row| format!("    {row:?},")).collect::<Vec<_>>().join("\n");
    let unlisted: BTreeSet<_> = rows.difference(&listed).collect();
    let gone: BTreeSet<_> = listed.difference(&rows).collect();
    assert!(unlisted.is_empty() && gone.is_empty(), "not listed:\n{}\ngone:\n{}", shown(unlisted), shown(gone));
    assert_eq!(listed.len(), CEILING, "the list may only shrink: lower the ceiling when it does");
}
