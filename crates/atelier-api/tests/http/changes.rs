//! What changes about a notebook: its fields, its tags; the free instance; and who sees everybody's.

use atelier_core::status::Status;
use http::StatusCode;
use serde_json::{Value, json};

use crate::answers::{create, wish};
use crate::house::{House, Reply, UNKNOWN};

async fn running(house: &House, token: &str, changes: Value) -> String {
    let id = create(house, token, changes).await["id"].as_str().unwrap().to_owned();
    house.let_one_start();
    house.reaches(&id, Status::Running).await;
    id
}

async fn put(house: &House, token: &str, id: &str, body: Value) -> Reply {
    house.call(token, "PUT", &format!("{}/notebooks/{id}", house.base()), &body).await
}

/// A client that sends name, description, flavor and image together while only one of them is new.
#[tokio::test]
async fn an_update_answers_with_the_whole_notebook() {
    let house = House::open().await;
    let token = house.project_token().await;
    let id = running(&house, &token, json!({"description": "old"})).await;
    let target = format!("{}/notebooks/{id}", house.base());
    let body = json!({
        "name": "new-name", "description": "", "flavor": "atelier.cpu.small", "storage_new_size": 5,
        "image_id": atelier_core::image::BUILT_IN.to_string(), "endpoints": [{"service": "NOTEBOOK"}],
    });
    let reply = put(&house, &token, &id, body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!((&reply.body["name"], &reply.body["description"]), (&json!("new-name"), &json!("")));
    assert_eq!(reply.body, house.call(&token, "GET", &target, &Value::Null).await.body);

    for (body, code) in [
        (json!({"flavor": "modelarts.vm.cpu.2u"}), "ModelArts.6347"),
        (json!({"storage_new_size": 4, "name": "not-kept"}), "ModelArts.6331"),
        (json!({"hooks": {"container_hooks": {"pre_start": {"script": "/a"}}}}), "ModelArts.6347"),
        (json!({"endpoints": [{"service": "SSH", "key_pair_names": ["k"]}]}), "ModelArts.6651"),
        (json!({"image_id": UNKNOWN}), "ModelArts.6797"),
        (json!([]), "ModelArts.6400"),
    ] {
        assert_eq!(put(&house, &token, &id, body.clone()).await.code(), code, "{body}");
    }
    house.call(&token, "POST", &format!("{target}/stop"), &Value::Null).await;
    house.reaches(&id, Status::Stopped).await;
    let flavors = house.call(&token, "GET", &format!("{target}/flavors"), &Value::Null).await.body;
    let ids: Vec<_> = flavors["data"].as_array().unwrap().iter().map(|flavor| flavor["id"].clone()).collect();
    assert_eq!(ids, ["modelarts.vm.cpu.2u", "modelarts.vm.cpu.8u", "modelarts.vm.cpu.free"]);
    assert_eq!((&flavors["total"], &flavors["current"]), (&json!(3), &json!(1)));
    let small = json!({"flavor": "no-such", "name": "not-kept"});
    assert_eq!(put(&house, &token, &id, small).await.code(), "ModelArts.6792");
    let reply = put(&house, &token, &id, json!({"flavor": "modelarts.vm.cpu.2u"})).await;
    assert_eq!((&reply.body["flavor"], &reply.body["name"]), (&json!("modelarts.vm.cpu.2u"), &json!("new-name")));
    let hook = json!({"script": "dHJ1ZQ==", "type": "command", "mode": "block"});
    let hooks = json!({"container_hooks": {"pre_start": hook, "post_start": {"script": "/a"}}});
    let reply = put(&house, &token, &id, json!({"hooks": hooks})).await;
    let shown = json!({"container_hooks": {
        "pre_start": {"script": "dHJ1ZQ==", "type": "COMMAND", "mode": "BLOCK"},
        "post_start": {"script": "/a", "type": "SCRIPT", "mode": "ASYNC"},
    }});
    assert_eq!(reply.body["hooks"], shown, "{}", reply.body);
    let reply = put(&house, &token, &id, json!({"name": "kept", "hooks": null})).await;
    assert_eq!(reply.body["hooks"], shown, "what is absent stays");
    let reply = put(&house, &token, &id, json!({"hooks": {"container_hooks": {"post_start": {"script": "/b"}}}})).await;
    assert_eq!(reply.body["hooks"]["container_hooks"]["pre_start"], Value::Null, "they are one value");
    let reply = put(&house, &token, &id, json!({"hooks": {}})).await;
    assert_eq!((reply.status, reply.body.get("hooks")), (StatusCode::OK, None));
    let grown = put(&house, &token, &id, json!({"storage_new_size": 4096})).await;
    assert_eq!(grown.body["volume"]["capacity"], 4096);
}

#[tokio::test]
async fn tags_come_and_go_with_204() {
    let house = House::open().await;
    let token = house.project_token().await;
    let made = create(&house, &token, json!({"tags": [{"key": "team", "value": "a/b"}]})).await;
    assert_eq!(made["tags"], json!([{"key": "team", "value": "a/b"}]));
    let id = made["id"].as_str().unwrap();
    let target = format!("{}/notebooks/{id}", house.base());
    let (add, remove) = (format!("{target}/tags/create"), format!("{target}/tags/delete?workspace_id=0"));
    let tags = json!({"tags": [{"key": "team", "value": "c"}, {"key": "größe"}]});
    let reply = house.call(&token, "POST", &add, &tags).await;
    assert_eq!((reply.status, reply.body), (StatusCode::NO_CONTENT, Value::Null));
    let shown = house.call(&token, "GET", &target, &Value::Null).await.body;
    assert_eq!(shown["tags"], json!([{"key": "größe", "value": ""}, {"key": "team", "value": "c"}]));
    let used = house.call(&token, "GET", &format!("{}/notebooks/tags", house.base()), &Value::Null).await.body;
    assert_eq!(used, json!({"tags": [{"key": "größe", "values": [""]}, {"key": "team", "values": ["c"]}]}));

    let reply = house.call(&token, "DELETE", &remove, &json!({"tags": [{"key": "team"}, {"key": "unknown"}]})).await;
    assert_eq!((reply.status, reply.body), (StatusCode::NO_CONTENT, Value::Null));
    let shown = house.call(&token, "GET", &target, &Value::Null).await.body;
    assert_eq!(shown["tags"], json!([{"key": "größe", "value": ""}]));
    let many: Vec<_> = (0..20).map(|n| json!({"key": format!("k{n}")})).collect();
    for (body, code) in [
        (json!({"tags": many}), "ModelArts.6336"),
        (json!({"tags": []}), "ModelArts.6336"),
        (json!({"tags": [{"key": "_sys_x"}]}), "ModelArts.6336"),
        (json!({}), "ModelArts.6335"),
        (Value::Null, "ModelArts.6400"),
    ] {
        assert_eq!(house.call(&token, "POST", &add, &body).await.code(), code, "{body}");
    }
}

/// One for each user: opened again it is the same one, started where it was stopped; lists show it only when asked.
#[tokio::test]
async fn the_free_instance_is_made_once_and_opened_again() {
    let house = House::open().await;
    let token = house.project_token().await;
    let open = format!("{}/notebooks/open", house.base());
    let made = house.call(&token, "POST", &open, &Value::Null).await.body;
    assert_eq!((&made["status"], &made["feature"]), (&json!("CREATING"), &json!("DEFAULT")), "{made}");
    assert_eq!(made["flavor"], "modelarts.vm.cpu.free");
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with("notebook_") && name.len() == "notebook_".len() + 8, "{name}");
    let id = made["id"].as_str().unwrap();
    house.let_one_start();
    house.reaches(id, Status::Running).await;
    let again = house.call(&token, "POST", &open, &json!({})).await.body;
    assert_eq!((again["id"].as_str(), &again["status"]), (Some(id), &json!("RUNNING")));

    house.call(&token, "POST", &format!("{}/notebooks/{id}/stop", house.base()), &Value::Null).await;
    house.reaches(id, Status::Stopped).await;
    let again = house.call(&token, "POST", &open, &Value::Null).await.body;
    assert_eq!((again["id"].as_str(), &again["status"]), (Some(id), &json!("STARTING")));
    let link = house.call(&token, "POST", &open, &json!({"share_url": "aHR0cDovL3g="})).await;
    assert_eq!(link.code(), "ModelArts.6651");

    let body = wish(json!({"name": "second", "feature": "DEFAULT", "flavor": "modelarts.vm.cpu.free"}));
    let target = format!("{}/notebooks", house.base());
    let second = house.call(&token, "POST", &target, &body).await;
    assert_eq!(second.code(), "ModelArts.0113");
    let mut paid = body;
    paid["flavor"] = json!("atelier.cpu.small");
    assert_eq!(house.call(&token, "POST", &target, &paid).await.code(), "ModelArts.6870");
    let total = async |query: &str| {
        house.call(&token, "GET", &format!("{target}?feature={query}"), &Value::Null).await.body["total"].clone()
    };
    assert_eq!((total("").await, total("DEFAULT").await), (json!(0), json!(1)));
}

/// An administrator sees everybody's notebooks, without what opens them; nobody else does.
#[tokio::test]
async fn everybody_s_notebooks_are_for_administrators() {
    let house = House::open().await;
    let token = house.project_token().await;
    let (member, member_token) = house.member().await;
    let own = create(&house, &token, json!({"name": "mine"})).await;
    let theirs = create(&house, &member_token, json!({"name": "theirs"})).await;
    let all = format!("{}/notebooks/all", house.base());
    let refused = house.call(&member_token, "GET", &all, &Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "ModelArts.0112"));
    assert!(refused.message().contains("GET /v1/") && refused.message().contains("/notebooks/all"));

    let list = async |query: &str| {
        house.call(&token, "GET", &format!("{all}?sort_key=name&sort_dir=ASC{query}"), &Value::Null).await.body
    };
    let page = list("").await;
    let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|notebook| notebook["name"].clone()).collect();
    assert_eq!(names, ["mine", "theirs"]);
    assert_eq!(page["data"][0]["token"], own["token"]);
    assert!(page["data"][1].get("token").is_none() && theirs["token"].is_string());
    let page = list(&format!("&owner={member}")).await;
    assert_eq!((&page["total"], &page["data"][0]["name"]), (&json!(1), &json!("theirs")));
    assert_eq!(list(&format!("&owner={}", "0".repeat(32))).await["total"], 0);
    let own_list = house.call(&token, "GET", &format!("{}/notebooks", house.base()), &Value::Null).await;
    assert_eq!(own_list.body["total"], 1);
    let foreign = format!("{}/notebooks/{}", house.base(), theirs["id"].as_str().unwrap());
    assert_eq!(house.call(&token, "PUT", &foreign, &json!({"name": "x"})).await.code(), "ModelArts.6404");
}
