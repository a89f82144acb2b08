//! What operations answer, along the life of a notebook.

use atelier_core::image::BUILT_IN;
use atelier_core::status::Status;
use http::StatusCode;
use serde_json::{Value, json};

use crate::house::{House, NOON, UNKNOWN};

/// What a create asks for that is right, with `changes` in it.
pub(crate) fn wish(changes: Value) -> Value {
    let mut body = json!({
        "name": "nb", "flavor": "atelier.cpu.small", "image_id": BUILT_IN.to_string(),
        "volume": {"category": "EVS", "ownership": "MANAGED"},
    });
    let Value::Object(changes) = changes else { panic!("no object: {changes}") };
    body.as_object_mut().unwrap().extend(changes);
    body
}

pub(crate) async fn create(house: &House, token: &str, changes: Value) -> Value {
    let reply = house.call(token, "POST", &format!("{}/notebooks", house.base()), &wish(changes)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    reply.body
}

#[tokio::test]
async fn a_new_notebook_shows_its_steps_and_no_address() {
    let house = House::open().await;
    let token = house.project_token().await;
    let made = create(&house, &token, json!({"description": "mine", "duration": 7_200_000})).await;
    assert_eq!(made["status"], "CREATING");
    let steps: Vec<_> =
        made["action_progress"].as_array().unwrap().iter().map(|s| s["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    for step in made["action_progress"].as_array().unwrap() {
        assert_eq!((&step["status"], &step["description"]), (&json!("WAITING"), &step["step_description"]));
    }
    assert_eq!((&made["endpoints"], &made["billing_items"]), (&json!([]), &json!([])));
    assert!(made.get("url").is_none() && made.get("fail_reason").is_none() && made.get("error_code").is_none());
    assert!(made["token"].as_str().unwrap().len() == 36);
    assert_eq!(
        made["lease"],
        json!({"create_at": NOON.as_millis(), "update_at": NOON.as_millis(), "duration": 7_200_000,
               "enable": true, "type": "TIMING"})
    );
    assert_eq!(
        made["volume"],
        json!({"category": "EVS", "ownership": "MANAGED", "capacity": 5, "mount_path": "/home/ma-user/work/", "read_only": false})
    );
    let first = &house.first;
    let domain = json!({"id": first.domain_id.to_string(), "name": first.domain_name});
    assert_eq!(made["user"], json!({"id": first.user_id.to_string(), "name": first.user_name, "domain": domain}));
    assert_eq!(made["user_id"], first.user_id.to_string());
    for (field, value) in [
        ("name", json!("nb")),
        ("description", json!("mine")),
        ("feature", json!("NOTEBOOK")),
        ("flavor", json!("atelier.cpu.small")),
        ("workspace_id", json!("0")),
        ("create_at", json!(NOON.as_millis())),
        ("update_at", json!(NOON.as_millis())),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    for field in ["id", "name", "swr_path", "type", "tag", "description"] {
        assert!(made["image"][field].is_string(), "image.{field}");
    }
}

#[tokio::test]
async fn a_notebook_lives_through_every_operation() {
    let house = House::open().await;
    let token = house.project_token().await;
    let id = create(&house, &token, json!({})).await["id"].as_str().unwrap().to_owned();
    let target = format!("{}/notebooks/{id}", house.base());
    let call = async |method: &str, rest: &str, body: Value| {
        house.call(&token, method, &format!("{target}{rest}"), &body).await
    };

    // Nothing but deletion is accepted while it is being made.
    assert_eq!(call("POST", "/stop", Value::Null).await.code(), "ModelArts.6357");
    assert_eq!(call("PATCH", "/lease", Value::Null).await.code(), "ModelArts.6327");
    assert_eq!(call("GET", "/lease", Value::Null).await.status, StatusCode::OK);

    house.time.advance(27_372);
    house.let_one_start();
    house.reaches(&id, Status::Running).await;
    let shown = call("GET", "", Value::Null).await.body;
    let url = format!("http://{id}.localhost:8080/lab");
    assert_eq!(shown["url"], url);
    assert_eq!(shown["endpoints"], json!([{"service": "NOTEBOOK", "dev_service": "NOTEBOOK", "uri": url}]));
    assert_eq!(shown["billing_items"], json!(["COMPUTE"]));
    assert!(shown.get("action_progress").is_none());
    assert_eq!(shown["lease"]["duration"], 3_627_372);
    let first_token = shown["token"].clone();

    // Renewed without a body, by the query alone, and by the body alone.
    house.time.advance(1000);
    assert_eq!(call("PATCH", "/lease", Value::Null).await.body["duration"], 3_628_372);
    assert_eq!(call("PATCH", "/lease?duration=7200000", Value::Null).await.body["duration"], 7_228_372);
    let off = call("PATCH", "/lease", json!({"duration": -1})).await.body;
    assert_eq!((&off["enable"], &off["duration"]), (&json!(false), &json!(-1)));

    let stopping = call("POST", "/stop", Value::Null).await;
    assert_eq!((stopping.status, &stopping.body["status"]), (StatusCode::OK, &json!("STOPPING")));
    house.reaches(&id, Status::Stopped).await;
    assert_eq!(call("POST", "/stop", Value::Null).await.code(), "ModelArts.6357");
    let stopped = call("GET", "", Value::Null).await.body;
    assert_eq!((&stopped["endpoints"], &stopped["billing_items"]), (&json!([]), &json!([])));
    assert_eq!(stopped["url"], url);

    let starting = call("POST", "/start?duration=3600000&type=TIMING", json!({})).await.body;
    assert_eq!(starting["status"], "STARTING");
    assert_eq!(starting["action_progress"].as_array().unwrap().len(), 4);
    assert_ne!(starting["token"], first_token);
    assert_eq!((&starting["lease"]["enable"], &starting["endpoints"]), (&json!(true), &json!([])));
    house.let_one_start();
    house.reaches(&id, Status::Running).await;

    let deleting = call("DELETE", "", json!({"ignored": true})).await;
    assert_eq!((deleting.status, &deleting.body["status"]), (StatusCode::OK, &json!("DELETING")));
    house.is_gone(&id).await;
    for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/stop"), ("GET", "/lease")] {
        let reply = call(method, rest, Value::Null).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, "ModelArts.6404"), "{method} {rest}");
    }
    house.engine.shut_down().await;
}

#[tokio::test]
async fn a_notebook_of_another_project_does_not_exist() {
    let house = House::open().await;
    let token = house.project_token().await;
    let id = create(&house, &token, json!({})).await["id"].as_str().unwrap().to_owned();
    let other = house.token(&json!({"project": {"id": house.other_project.to_string()}})).await;
    let target = format!("/v1/{}/notebooks", house.other_project);
    let reply = house.call(&other, "GET", &format!("{target}/{id}"), &Value::Null).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (404, "ModelArts.6404"));
    assert_eq!(house.call(&other, "GET", &target, &Value::Null).await.body["total"], 0);
}

#[tokio::test]
async fn errors_of_the_engine_come_through_with_their_codes() {
    let house = House::open().await;
    let token = house.project_token().await;
    let target = format!("{}/notebooks", house.base());
    for (changes, code) in
        [(json!({"flavor": "no.such"}), "ModelArts.6323"), (json!({"image_id": UNKNOWN}), "ModelArts.6797")]
    {
        let reply = house.call(&token, "POST", &target, &wish(changes)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, code));
    }
}

#[tokio::test]
async fn a_path_without_the_method_names_no_methods() {
    let house = House::open().await;
    let token = house.project_token().await;
    for path in ["/images".to_owned(), format!("/notebooks/{UNKNOWN}")] {
        let reply = house.call(&token, "OPTIONS", &format!("{}{path}", house.base()), &Value::Null).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, "APIG.0101"));
        assert!(!reply.headers.contains_key("allow"), "{path}: {:?}", reply.headers);
    }
}
