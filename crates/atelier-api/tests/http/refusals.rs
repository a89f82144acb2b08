//! What is wrong with a request is refused with the documented code: a table made from the contract.
//!
//! For each operation that is offered, each field that the contract gives it meets every mistake that its schema allows to
//! be made: missing, of the wrong type, just outside each bound, against its pattern, a word that is not in its list.
//! What each field is worth here is said by one row in [`treatment`]; a field without a row fails. Which code a mistake
//! deserves follows from the schema by one rule, [`code`].

use serde_json::{Value, json};

use crate::answers::wish;
use crate::contract::{self, Field, Operation, Place};
use crate::house::{House, Reply, UNKNOWN};

/// What this server does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Taken, with every value that the schema allows.
    Taken,
    /// Taken with these words; the other words of the contract are not offered.
    Words(&'static [&'static str]),
    /// Only this value is what is done anyway; others are not offered.
    Fixed(&'static str),
    /// Not offered, whatever it says.
    NotOffered,
    /// A workspace: there is only `0`.
    Workspace,
    /// A sort key.
    SortKey,
}

const OPERATIONS: [&str; 20] = [
    "CreateNotebook",
    "ListNotebooks",
    "ShowNotebook",
    "DeleteNotebook",
    "StartNotebook",
    "StopNotebook",
    "ShowLease",
    "RenewLease",
    "ListFlavors",
    "ListImage",
    "UpdateNotebook",
    "ShowSwitchableFlavors",
    "ListAllNotebooks",
    "RunCodeLab",
    "CreateNotebookTags",
    "DeleteNotebookTags",
    "ShowNotebookTags",
    "ListAuthoringClusters",
    "ShowCluster",
    "ListFeatures",
];

/// The row of a field.
pub(crate) fn treatment(operation: &str, field: &Field) -> Option<Treatment> {
    use Treatment as T;
    let path = field.path.as_str();
    if field.place == Place::Path {
        return matches!(path, "project_id" | "id" | "resource_id" | "cluster_id" | "feature").then_some(T::Taken);
    }
    Some(match (operation, path) {
        ("CreateNotebook", path) => match path {
            "name" | "description" | "feature" | "flavor" | "image_id" | "volume" | "volume.capacity" | "endpoints"
            | "lease" | "lease.duration" | "lease.enable" | "duration" | "workspace_id" | "pool_id" => T::Taken,
            "endpoints[].service" | "endpoints[].dev_service" => T::Words(&["NOTEBOOK"]),
            "lease.type" => T::Words(&["TIMING", "IDLE"]),
            path if path.starts_with("hooks") => T::Taken,
            "volume.category" => T::Words(&["EVS", "EFS", "SFS"]),
            // As these of a volume of category EVS, which the body asks for.
            "volume.ownership" => T::Words(&["MANAGED"]),
            "volume.read_only" => T::Fixed("false"),
            "volume.mount_path" => T::Fixed("\"/home/ma-user/work/\""),
            "volume.uri"
            | "volume.id"
            | "volume.dew_secret_name"
            | "endpoints[].key_pair_names"
            | "endpoints[].ssh_keys"
            | "endpoints[].allowed_access_ips" => T::NotOffered,
            path => match path.split(['.', '[']).next()? {
                "custom_spec" => custom_spec(path),
                "data_volumes" | "affinity" | "run_user" | "user_vpc" | "public_network_config" => T::NotOffered,
                _ => return None,
            },
        },
        ("UpdateNotebook", path) => match path {
            "name" | "description" | "flavor" | "image_id" | "storage_new_size" | "endpoints" => T::Taken,
            "endpoints[].service" | "endpoints[].dev_service" => T::Words(&["NOTEBOOK"]),
            path if path.starts_with("hooks") => T::Taken,
            path => match path.split('.').next()? {
                "endpoints[]" | "dew_secret_name" => T::NotOffered,
                "custom_spec" => custom_spec(path),
                path => match path.split('[').next()? {
                    "affinity" | "data_volumes" | "public_network_config" => T::NotOffered,
                    _ => return None,
                },
            },
        },
        ("CreateNotebookTags" | "DeleteNotebookTags", "tags" | "tags[].key" | "tags[].value")
        | ("RunCodeLab", "image_id")
        | ("ShowSwitchableFlavors", "limit" | "offset" | "sort_dir")
        | (
            "ListNotebooks" | "ListAllNotebooks",
            "name" | "status" | "feature" | "limit" | "offset" | "sort_dir" | "owner" | "pool_id" | "flavor"
            | "image_id" | "id" | "billing" | "tags" | "swr_path" | "pool_name" | "description" | "ip" | "username",
        )
        | ("ListAuthoringClusters", "type" | "scope" | "limit" | "offset")
        | ("StartNotebook", "duration")
        | ("RenewLease", "duration" | "enable")
        | ("ListFlavors", "category" | "type" | "feature" | "flavor_type" | "limit" | "offset" | "sort_dir")
        | (
            "ListImage",
            "limit" | "offset" | "name" | "name_fuzzy_match" | "namespace" | "service_type" | "type" | "sort_dir"
            | "show_name" | "show_tag",
        ) => T::Taken,
        ("StartNotebook" | "RenewLease", "type") => T::Words(&["TIMING", "IDLE"]),
        ("ListNotebooks" | "ListAllNotebooks" | "ListFlavors" | "ListImage" | "ShowSwitchableFlavors", "sort_key") => {
            T::SortKey
        }
        ("CreateNotebookTags" | "DeleteNotebookTags" | "ShowNotebookTags", "workspace_id")
        | (
            "ListNotebooks" | "ListAllNotebooks" | "ListImage" | "ListAuthoringClusters",
            "workspace_id" | "workspaceId",
        ) => T::Workspace,
        ("RunCodeLab", "share_url") => T::NotOffered,
        _ => return None,
    })
}

/// What this server does with `custom_spec` and its fields.
fn custom_spec(path: &str) -> Treatment {
    use Treatment as T;
    match path {
        "custom_spec" | "custom_spec.cpu" | "custom_spec.memory" => T::Taken,
        "custom_spec.arch" => T::Words(&[std::env::consts::ARCH]),
        "custom_spec.category" => T::Words(&["CPU"]),
        _ => T::NotOffered,
    }
}

/// Required here, although the contract leaves a choice that this server does not have.
const ALSO_REQUIRED: [(&str, &str); 7] = [
    ("CreateNotebook", "flavor"),
    ("CreateNotebook", "endpoints[].service"),
    ("UpdateNotebook", "endpoints[].service"),
    ("CreateNotebook", "hooks.container_hooks.pre_start.script"),
    ("CreateNotebook", "hooks.container_hooks.post_start.script"),
    ("UpdateNotebook", "hooks.container_hooks.pre_start.script"),
    ("UpdateNotebook", "hooks.container_hooks.post_start.script"),
];

fn is_required(operation: &str, field: &Field) -> bool {
    field.required || ALSO_REQUIRED.contains(&(operation, &field.path))
}

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    Missing,
    WrongType,
    OutOfRange,
    WrongLength,
    WrongPattern,
    UnknownWord,
    NotOffered,
}

/// The code that a mistake deserves.
fn code(field: &Field, treatment: Treatment, mistake: Mistake) -> &'static str {
    let name = field.path.rsplit('.').next().unwrap();
    match (field.place, mistake) {
        (_, Mistake::NotOffered) => "ModelArts.6651",
        (Place::Path, _) if name == "project_id" => "ModelArts.0210",
        (Place::Path, _) => "ModelArts.6404",
        _ if treatment == Treatment::Workspace => "ModelArts.0102",
        _ if treatment == Treatment::SortKey => "ModelArts.6303",
        (_, Mistake::OutOfRange) if name == "duration" => "ModelArts.6349",
        (Place::Query, _) => "ModelArts.0104",
        (_, Mistake::Missing) => "ModelArts.6335",
        (_, Mistake::WrongType) => "ModelArts.6332",
        (_, Mistake::OutOfRange) if matches!(name, "capacity" | "storage_new_size") => "ModelArts.6331",
        (_, Mistake::WrongPattern) if matches!(name, "name" | "description") => "ModelArts.6334",
        _ => "ModelArts.6336",
    }
}

/// Every value that the schema of a field forbids, and which mistake it is. `None` leaves the field out.
pub(crate) fn mistakes(operation: &str, field: &Field, treatment: Treatment) -> Vec<(Mistake, Option<Value>)> {
    if treatment == Treatment::NotOffered {
        return vec![(Mistake::NotOffered, Some(something(field)))];
    }
    let schema = &field.schema;
    let mut cases = Vec::new();
    let mut case = |mistake, value: Value| cases.push((mistake, Some(value)));
    for value in wrong_types(field) {
        case(Mistake::WrongType, value);
    }
    let duration = field.path.ends_with("duration");
    if let Some(least) = schema["minimum"].as_i64() {
        case(Mistake::OutOfRange, json!(least - 1));
    } else if let Some(least) = schema["minimum"].as_f64() {
        case(Mistake::OutOfRange, json!(least - 0.01));
    }
    if let Some(most) = schema["maximum"].as_i64() {
        case(Mistake::OutOfRange, json!(most + 1));
    } else if schema["format"] == "int32" {
        case(Mistake::OutOfRange, json!(i64::from(i32::MAX) + 1));
    }
    if duration {
        case(Mistake::OutOfRange, json!(1));
        case(Mistake::OutOfRange, json!(3_599_999));
    }
    if let Some(longest) = schema["maxLength"].as_u64().filter(|_| !matches!(treatment, Treatment::Fixed(_))) {
        case(Mistake::WrongLength, json!("x".repeat(usize::try_from(longest).unwrap() + 1)));
    }
    if schema["pattern"].is_string() {
        case(Mistake::WrongPattern, json!("<no match>"));
    }
    if let Some(format) = schema["format"].as_str().filter(|format| matches!(*format, "uuid" | "ipv4")) {
        case(Mistake::WrongPattern, json!(format!("not-a-{format}")));
    }
    if let Some(shortest) = schema["minLength"].as_u64().filter(|least| *least > 1) {
        case(Mistake::WrongLength, json!("x".repeat(usize::try_from(shortest).unwrap() - 1)));
    }
    if schema["enum"].is_array() {
        case(Mistake::UnknownWord, json!("NO_SUCH_WORD"));
    }
    for word in words(schema) {
        if let Treatment::Words(offered) = treatment
            && !offered.iter().any(|offered| offered.eq_ignore_ascii_case(word))
        {
            case(Mistake::NotOffered, json!(word));
        }
    }
    match treatment {
        Treatment::Workspace => case(Mistake::WrongPattern, json!("1")),
        Treatment::SortKey => case(Mistake::WrongPattern, json!("no_such_key")),
        Treatment::Fixed("false") => case(Mistake::NotOffered, json!(true)),
        Treatment::Fixed(_) => case(Mistake::NotOffered, json!("/other")),
        _ => {}
    }
    if field.place == Place::Body && is_required(operation, field) {
        cases.push((Mistake::Missing, None));
        cases.push((Mistake::Missing, Some(Value::Null)));
    }
    cases
}

fn words(schema: &Value) -> impl Iterator<Item = &str> {
    schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Values of every other JSON type. In a query everything is text, so only numbers and flags can be of the wrong type.
fn wrong_types(field: &Field) -> Vec<Value> {
    let kind = field.schema["type"].as_str().unwrap();
    match (field.place, kind) {
        (Place::Path, _) | (Place::Query, "string") => vec![],
        (Place::Query, _) => vec![json!("x"), json!("1.5"), json!("--1")],
        (_, "string") => vec![json!(7), json!(true), json!([]), json!({})],
        (_, "integer") => vec![json!("7"), json!(1.5), json!(true), json!([]), json!({})],
        (_, "number") => vec![json!("7"), json!(true), json!([]), json!({})],
        (_, "boolean") => vec![json!("true"), json!(1), json!([]), json!({})],
        (_, "object") => vec![json!("x"), json!(7), json!(false), json!([])],
        (_, "array") => vec![json!("x"), json!(7), json!({})],
        (_, other) => panic!("the type `{other}` needs a rule"),
    }
}

/// A value of the field's type that asks for something.
fn something(field: &Field) -> Value {
    match field.schema["type"].as_str().unwrap() {
        "string" => json!("something"),
        "object" => json!({"something": 1}),
        "array" => json!(["something"]),
        "boolean" => json!(true),
        _ => json!(1),
    }
}

/// Values that the field may have: its words in both letter cases, its bounds.
pub(crate) fn allowed(field: &Field, treatment: Treatment) -> Vec<Value> {
    let schema = &field.schema;
    match treatment {
        Treatment::NotOffered => vec![],
        Treatment::Words(offered) => offered.iter().flat_map(|w| [json!(w), json!(w.to_lowercase())]).collect(),
        Treatment::Fixed(text) => vec![serde_json::from_str(text).unwrap()],
        Treatment::Workspace => vec![json!("0")],
        Treatment::SortKey => vec![json!("name")],
        Treatment::Taken => {
            let mut values: Vec<_> = words(schema).map(|word| json!(word)).collect();
            if schema["type"] == "boolean" {
                values.extend([json!(true), json!(false)]);
            }
            values.extend(schema["minimum"].as_number().map(|least| json!(least)));
            values.extend(schema["maximum"].as_i64().map(|most| json!(most)));
            values.extend(schema["maxLength"].as_u64().map(|most| json!("x".repeat(usize::try_from(most).unwrap()))));
            if schema["format"] == "ipv4" {
                values.push(json!("10.0.0.1"));
            }
            if field.path == "tags" && field.place == Place::Query {
                values.push(json!("team|a,x|"));
            }
            values
        }
    }
}

/// A body that is right in every field and asks for an image that does not exist: when it is refused for the image, no
/// field was found wrong, and nothing was made.
fn right_body(operation: &str) -> Value {
    match operation {
        "CreateNotebook" => wish(json!({"image_id": UNKNOWN})),
        "RenewLease" | "UpdateNotebook" => json!({}),
        "RunCodeLab" => json!({"image_id": UNKNOWN}),
        "CreateNotebookTags" | "DeleteNotebookTags" => json!({"tags": [{"key": "k"}]}),
        _ => Value::Null,
    }
}

/// The answer when no field is wrong.
fn accepted(operation: &str) -> (u16, &'static str) {
    match operation {
        "CreateNotebook" | "RunCodeLab" => (400, "ModelArts.6797"),
        "ShowNotebookTags" => (200, ""),
        operation if operation.starts_with("List") => (200, ""),
        _ => (404, "ModelArts.6404"),
    }
}

/// Puts `value` at `path`, with what has to be around it.
fn put(body: &mut Value, path: &str, value: Option<&Value>) {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, is_list) = head.strip_suffix("[]").map_or((head, false), |name| (name, true));
    let object = body.as_object_mut().unwrap();
    if rest.is_empty() {
        match value {
            Some(value) => object.insert(name.to_owned(), value.clone()),
            None => object.remove(name),
        };
        return;
    }
    let inner = object.entry(name).or_insert_with(|| if is_list { json!([{}]) } else { json!({}) });
    let inner = if is_list { &mut inner[0] } else { inner };
    if name == "endpoints" {
        inner["service"] = json!("NOTEBOOK");
    }
    if name == "tags" {
        inner["key"] = json!("k");
    }
    if matches!(name, "pre_start" | "post_start") {
        // A script that is right for the type beside it.
        inner["script"] = if value == Some(&json!("COMMAND")) { json!("dHJ1ZQ==") } else { json!("/a") };
    }
    if name == "custom_spec" {
        (inner["cpu"], inner["memory"]) = (json!(1), json!(1024));
    }
    put(inner, rest, value);
}

/// Sends the operation with `field` set to `value`.
async fn send(house: &House, token: &str, operation: &Operation, field: &Field, value: Option<&Value>) -> Reply {
    let text = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let encoded = text.map(|text| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    let given = |name: &str, otherwise: &str| match &encoded {
        Some(text) if field.place == Place::Path && field.path == name => text.replace('+', "%20"),
        _ => otherwise.to_owned(),
    };
    let target = operation.path.replace("{project_id}", &given("project_id", house.first.project_id.as_str()));
    let target = target.replace("{resource_id}", &given("resource_id", UNKNOWN));
    let target = target.replace("{cluster_id}", &given("cluster_id", UNKNOWN));
    let target = target.replace("{feature}", &given("feature", "notebook"));
    let mut target = target.replace("{id}", &given("id", UNKNOWN));
    if let Some(text) = encoded.as_ref().filter(|_| field.place == Place::Query) {
        target = format!("{target}?{}={text}", field.path);
    }
    if operation.id == "ListAuthoringClusters" && field.path != "type" {
        target = format!("{target}{}type=MANAGED", if target.contains('?') { '&' } else { '?' });
    }
    let mut body = right_body(&operation.id);
    if field.place == Place::Body {
        if field.path.starts_with("custom_spec.") {
            // It stands for a flavor, so that there is none beside it.
            body.as_object_mut().unwrap().remove("flavor");
        }
        put(&mut body, &field.path, value);
    }
    house.call(token, &operation.method, &target, &body).await
}

fn offered() -> Vec<Operation> {
    let offered: Vec<_> = contract::operations().into_iter().filter(|o| OPERATIONS.contains(&o.id.as_str())).collect();
    assert_eq!(offered.len(), OPERATIONS.len());
    offered
}

#[test]
fn every_field_of_the_contract_has_a_row() {
    for operation in offered() {
        for field in &operation.fields {
            assert!(treatment(&operation.id, field).is_some(), "{} `{}` has no row", operation.id, field.path);
        }
    }
}

#[tokio::test]
async fn every_mistake_is_refused_with_its_code_and_names_its_field() {
    let house = House::open().await;
    let token = house.project_token().await;
    let mut cases = 0;
    for operation in offered() {
        for field in &operation.fields {
            let treatment = treatment(&operation.id, field).unwrap();
            for (mistake, value) in mistakes(&operation.id, field, treatment) {
                let reply = send(&house, &token, &operation, field, value.as_ref()).await;
                let case = format!("{} `{}` {mistake:?} {value:?}: {}", operation.id, field.path, reply.body);
                assert_eq!(reply.code(), code(field, treatment, mistake), "{case}");
                assert!(reply.status.is_client_error(), "{case}");
                assert_eq!(reply.body["request_id"], reply.headers["x-request-id"].to_str().unwrap(), "{case}");
                assert!(names(&reply, field), "{case}");
                cases += 1;
            }
        }
    }
    assert!(cases > 300, "only {cases} cases");
    let listed = house.call(&token, "GET", &format!("{}/notebooks", house.base()), &Value::Null).await;
    assert_eq!(listed.body["total"], 0, "nothing was made");
}

/// The control: values within the schema are not refused, nor is their absence where it is allowed.
#[tokio::test]
async fn what_the_contract_allows_is_not_refused() {
    let house = House::open().await;
    let token = house.project_token().await;
    for operation in offered() {
        for field in operation.fields.iter().filter(|field| field.place != Place::Path) {
            let treatment = treatment(&operation.id, field).unwrap();
            let mut values: Vec<_> = allowed(field, treatment).into_iter().map(Some).collect();
            // Without an image that does not exist the free instance would really be made.
            let makes = operation.id == "RunCodeLab" && field.path == "image_id";
            if treatment != Treatment::NotOffered && !is_required(&operation.id, field) && !makes {
                values.push(None);
            }
            for value in values {
                let reply = send(&house, &token, &operation, field, value.as_ref()).await;
                let case = format!("{} `{}` {value:?}: {}", operation.id, field.path, reply.body);
                assert_eq!((reply.status.as_u16(), reply.code()), accepted(&operation.id), "{case}");
            }
        }
    }
}

/// Whether the refusal names the field, or the thing that holds it where the whole of that is not offered.
fn names(reply: &Reply, field: &Field) -> bool {
    let message = reply.message();
    let path = field.path.replace("[]", "[0]");
    let whole = field.path.split(['.', '[']).next().unwrap();
    let id_of_nothing = field.place == Place::Path && field.path != "project_id";
    id_of_nothing || message.contains(&format!("`{path}`")) || message.contains(&format!("`{whole}`"))
}
