//! Where notebooks can run, and how many of them.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answers::create;
use crate::house::House;

/// Without pools the machine itself is the one managed cluster, with every flavor.
#[tokio::test]
async fn the_machine_is_the_one_managed_cluster() {
    let house = House::open().await;
    let token = house.project_token().await;
    let base = format!("{}/authoring/clusters", house.base());
    let get = async |rest: &str| house.call(&token, "GET", &format!("{base}{rest}"), &Value::Null).await.body;
    let page = get("?type=managed").await;
    let numbers = ["current", "pages", "size", "total"].map(|name| page[name].as_u64().unwrap());
    assert_eq!(numbers, [0, 1, 1000, 1]);
    let cluster = &page["data"][0];
    let words = json!([cluster["logic_cluster_id"], cluster["status"], cluster["type"], cluster["workspace_id"]]);
    assert_eq!(words, json!(["public", "ACTIVE", "MANAGED", "0"]));
    assert_eq!(cluster["project_id"], house.first.project_id.to_string());
    assert_eq!((&cluster["is_allow_root"], cluster.get("pool_id")), (&json!(false), None));
    assert_eq!(
        (&cluster["flavors"][0]["id"], &cluster["flavors"][0]["memory"]),
        (&json!("modelarts.vm.cpu.2u"), &json!("8388608"))
    );
    assert_eq!(get("/public").await, *cluster);
    for none in ["?type=DEDICATED", "?type=MANAGED&scope=TRAIN", "?type=MANAGED&offset=1", "?type=MANAGED&limit=0"] {
        assert_eq!(get(none).await["data"], json!([]), "{none}");
    }
    let refused = house.call(&token, "GET", &base, &Value::Null).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "ModelArts.0104"));
    assert!(refused.message().contains("`type`"), "{}", refused.message());
}

/// The quota is the caller's own, whatever others have.
#[tokio::test]
async fn the_quota_shows_what_the_caller_has() {
    let house = House::open().await;
    let token = house.project_token().await;
    let (member, member_token) = house.member().await;
    create(&house, &token, json!({})).await;
    create(&house, &token, json!({"feature": "DEFAULT", "flavor": "modelarts.vm.cpu.free"})).await;
    let target = format!("{}/authoring/features/NOTEBOOK", house.base());
    let own = house.call(&token, "GET", &target, &Value::Null).await.body;
    let user_id = house.first.user_id.to_string();
    assert_eq!(own, json!({"name": "NOTEBOOK", "enabled": true, "quota": 50, "used": 2, "user_id": user_id}));
    let theirs = house.call(&member_token, "GET", &target, &Value::Null).await.body;
    assert_eq!((&theirs["used"], &theirs["user_id"]), (&json!(0), &json!(member.to_string())));
    let unknown = house.call(&token, "GET", &target.replace("NOTEBOOK", "CODELAB"), &Value::Null).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "ModelArts.6404"));
}
