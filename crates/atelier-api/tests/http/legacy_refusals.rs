//! What is wrong with a request of the legacy API is refused with the documented code: a table made from the contract, as
//! the one for the other API ([`crate::refusals`]).

use serde_json::{Value, json};

use crate::contract::{self, Field, Operation, Place};
use crate::house::{House, Reply, UNKNOWN};
use crate::refusals::{Mistake, Treatment, allowed, mistakes};

/// What this server does with a field of an operation; a field without a row fails.
fn treatment(operation: &str, field: &Field) -> Option<Treatment> {
    use Treatment as T;
    let path = field.path.as_str();
    if field.place == Place::Path {
        return matches!(path, "project_id" | "instance_id").then_some(T::Taken);
    }
    if operation == "CreateDevEnvironInstance"
        && (path.starts_with("pool.owner") || path.starts_with("spec.extend_storage["))
    {
        return Some(T::NotOffered);
    }
    Some(match (operation, path) {
        ("CreateDevEnvironInstance", "spec.storage.type") => T::Words(&["evs"]),
        ("CreateDevEnvironInstance", "spec.storage.location.path") => T::Fixed("\"/home/ma-user/work/\""),
        ("CreateDevEnvironInstance", "spec.storage.location.volume_unit") => T::Fixed("\"GB\""),
        ("CreateDevEnvironInstance", "pool.type") => T::Fixed("\"USER_DEFINED\""),
        ("CreateDevEnvironInstance", "ai_project.id") => T::Fixed("\"default-ai-project\""),
        (
            "CreateDevEnvironInstance",
            "name"
            | "profile_id"
            | "description"
            | "flavor"
            | "pool"
            | "pool.id"
            | "pool.name"
            | "spec"
            | "spec.storage"
            | "spec.storage.location"
            | "spec.storage.location.volume_size"
            | "spec.auto_stop"
            | "spec.auto_stop.enable"
            | "spec.auto_stop.duration"
            | "spec.auto_stop.prompt"
            | "workspace"
            | "ai_project",
        )
        | (
            "UpdateDevEnvironInstance",
            "description"
            | "spec"
            | "spec.auto_stop"
            | "spec.auto_stop.enable"
            | "spec.auto_stop.duration"
            | "spec.auto_stop.prompt"
            | "auto_stop"
            | "auto_stop.enable"
            | "auto_stop.duration"
            | "auto_stop.prompt",
        )
        | ("ManageDevEnvironInstance", "action")
        | (
            "ListDevEnvironInstances",
            "de_type" | "provision_type" | "status" | "order" | "offset" | "limit" | "show_self" | "ai_project"
            | "pool_id",
        )
        | ("ShowDevEnvironInstance", "de_type") => T::Taken,
        ("ListDevEnvironInstances", "sortby") => T::SortKey,
        ("CreateDevEnvironInstance", "workspace.id") | ("ListDevEnvironInstances", "workspace_id") => T::Workspace,
        ("CreateDevEnvironInstance", "spec.extend_storage" | "spec.annotations") => T::NotOffered,
        _ => return None,
    })
}

/// The code that a mistake deserves.
fn code(field: &Field, treatment: Treatment, mistake: Mistake, value: Option<&str>) -> &'static str {
    let name = field.path.rsplit('.').next().unwrap();
    match (field.place, mistake) {
        (Place::Path, _) if name == "project_id" => "ModelArts.0210",
        (Place::Path, _) => "ModelArts.6309",
        (_, Mistake::WrongType) if field.place == Place::Body => "ModelArts.6332",
        _ if treatment == Treatment::Workspace => "ModelArts.0102",
        _ if treatment == Treatment::SortKey => "ModelArts.6303",
        _ if treatment == Treatment::NotOffered => "ModelArts.6651",
        (_, Mistake::NotOffered) if name == "volume_unit" => "ModelArts.6336",
        // Object storage is first checked as if it were offered.
        (_, Mistake::NotOffered) if field.path == "spec.storage.type" && value == Some("obs") => "ModelArts.6317",
        (_, Mistake::NotOffered) => "ModelArts.6651",
        (Place::Query, _) => "ModelArts.0104",
        (_, Mistake::Missing) if field.path == "spec.storage" => "ModelArts.6316",
        (_, Mistake::Missing) => "ModelArts.6335",
        (_, Mistake::OutOfRange) if name == "duration" => "ModelArts.6349",
        (_, Mistake::OutOfRange) if name == "volume_size" => "ModelArts.6331",
        (_, Mistake::WrongPattern) if name == "path" => "ModelArts.6651",
        (_, Mistake::WrongPattern) if matches!(name, "name" | "description") => "ModelArts.6334",
        _ => "ModelArts.6336",
    }
}

/// It asks for an image that does not exist: when it is refused for that, no field was found wrong, and nothing was made.
fn right_body(operation: &str) -> Value {
    match operation {
        "CreateDevEnvironInstance" => json!({
            "name": "nb", "profile_id": UNKNOWN, "flavor": "atelier.cpu.small",
            "spec": {"storage": {"type": "evs"}},
        }),
        "UpdateDevEnvironInstance" => json!({}),
        "ManageDevEnvironInstance" => json!({"action": "start"}),
        _ => Value::Null,
    }
}

/// The answer when no field is wrong.
fn accepted(operation: &str) -> (u16, &'static str) {
    match operation {
        "CreateDevEnvironInstance" => (400, "ModelArts.6797"),
        "ListDevEnvironInstances" => (200, ""),
        _ => (404, "ModelArts.6309"),
    }
}

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
    // Switched on, it needs a duration: that is another rule than those of single fields.
    if name == "auto_stop" && rest == "enable" {
        inner["duration"] = json!(3600);
    }
    if name == "pool" && rest != "id" {
        inner["id"] = json!("team-a");
    }
    put(inner, rest, value);
}

async fn send(house: &House, token: &str, operation: &Operation, field: &Field, value: Option<&Value>) -> Reply {
    let text = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let encoded = text.map(|text| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    let given = |name: &str, otherwise: &str| match &encoded {
        Some(text) if field.place == Place::Path && field.path == name => text.replace('+', "%20"),
        _ => otherwise.to_owned(),
    };
    let target = operation.path.replace("{project_id}", &given("project_id", house.first.project_id.as_str()));
    let mut target = target.replace("{instance_id}", &given("instance_id", &format!("DE-{UNKNOWN}")));
    let mut query = Vec::new();
    if field.place == Place::Query {
        query.extend(encoded.as_ref().map(|text| format!("{}={text}", field.path)));
    }
    if operation.id == "ListDevEnvironInstances" && !(field.place == Place::Query && field.path == "de_type") {
        query.push("de_type=Notebook".to_owned());
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let mut body = right_body(&operation.id);
    if field.place == Place::Body {
        put(&mut body, &field.path, value);
    }
    house.call(token, &operation.method, &target, &body).await
}

fn operations() -> Vec<Operation> {
    let seven: Vec<_> = contract::operations().into_iter().filter(|o| o.path.contains("/demanager/")).collect();
    assert_eq!(seven.len(), 7);
    seven
}

#[test]
fn every_field_of_the_contract_has_a_row() {
    for operation in operations() {
        for field in &operation.fields {
            assert!(treatment(&operation.id, field).is_some(), "{} `{}` has no row", operation.id, field.path);
        }
    }
}

/// Mistakes that the schema allows to be made, but for those that are none here: a parameter that the contract tells to
/// ignore, and bounds that it does not know.
fn cases(operation: &str, field: &Field) -> Vec<(Mistake, Option<Value>)> {
    let treatment = treatment(operation, field).unwrap();
    let mut cases = mistakes(operation, field, treatment);
    if operation == "ShowDevEnvironInstance" && field.path == "de_type" {
        cases.clear();
    }
    if field.path == "spec.storage.location.volume_size" {
        cases.retain(|(mistake, _)| *mistake != Mistake::OutOfRange);
        cases.extend([4, 4097].map(|size| (Mistake::OutOfRange, Some(json!(size)))));
    }
    if field.path.ends_with("auto_stop.duration") {
        // Bounds of milliseconds, which are within those of seconds.
        cases.retain(|(_, value)| !matches!(value.as_ref().and_then(Value::as_i64), Some(3_599_999)));
    }
    if field.place == Place::Query && field.path == "show_self" {
        cases.push((Mistake::UnknownWord, Some(json!("perhaps"))));
    }
    if field.place == Place::Query && field.path == "de_type" && operation == "ListDevEnvironInstances" {
        cases.push((Mistake::Missing, None));
    }
    cases
}

#[tokio::test]
async fn every_mistake_is_refused_with_its_code_and_names_its_field() {
    let house = House::open().await;
    let token = house.project_token().await;
    let mut count = 0;
    for operation in operations() {
        for field in &operation.fields {
            let treatment = treatment(&operation.id, field).unwrap();
            for (mistake, value) in cases(&operation.id, field) {
                let reply = send(&house, &token, &operation, field, value.as_ref()).await;
                let case = format!("{} `{}` {mistake:?} {value:?}: {}", operation.id, field.path, reply.body);
                assert_eq!(
                    reply.code(),
                    code(field, treatment, mistake, value.as_ref().and_then(Value::as_str)),
                    "{case}"
                );
                assert!(reply.status.is_client_error(), "{case}");
                assert_eq!(reply.body["error_message"], reply.body["error_msg"], "{case}");
                assert!(names(&reply, field), "{case}");
                count += 1;
            }
        }
    }
    assert!(count > 150, "only {count} cases");
    let target = format!("{}/demanager/instances?de_type=Notebook", house.base());
    assert_eq!(house.call(&token, "GET", &target, &Value::Null).await.body["total_count"], 0, "nothing was made");
}

/// The control: values within the schema are not refused, nor is their absence where it is allowed.
#[tokio::test]
async fn what_the_contract_allows_is_not_refused() {
    let house = House::open().await;
    let token = house.project_token().await;
    for operation in operations() {
        for field in operation.fields.iter().filter(|field| field.place != Place::Path) {
            let treatment = treatment(&operation.id, field).unwrap();
            let mut values: Vec<_> = allowed(field, treatment).into_iter().map(Some).collect();
            if field.path == "profile_id" || (treatment == Treatment::SortKey) {
                values = vec![Some(json!(if treatment == Treatment::SortKey { "name" } else { UNKNOWN }))];
            }
            if !field.required && treatment != Treatment::NotOffered {
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
    let (message, path) = (reply.message(), field.path.replace("[]", "[0]"));
    let is_whole = |whole: &str| path.starts_with(whole) && message.contains(&format!("`{whole}`"));
    let ends = path.match_indices(['.', '[']).map(|(at, _)| &path[..at]);
    // Object storage is refused for its path.
    let is_path = field.path == "spec.storage.type" && message.contains("`spec.storage.location.path`");
    let id_of_nothing = field.place == Place::Path && field.path == "instance_id";
    is_path || id_of_nothing || is_whole(&path) || ends.into_iter().any(is_whole)
}
