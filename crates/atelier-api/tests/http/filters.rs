//! The filters of lists of notebooks, and whose notebooks they show.

use atelier_core::status::Status;
use serde_json::{Value, json};

use crate::answers::create;
use crate::house::House;

async fn names(house: &House, token: &str, target: &str) -> Vec<String> {
    let target = format!("{}/{target}&sort_key=flavor,name&sort_dir=ASC", house.base());
    let reply = house.call(token, "GET", &target, &Value::Null).await;
    assert_eq!(reply.status.as_u16(), 200, "{target}: {}", reply.body);
    let names: Vec<_> =
        reply.body["data"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap().into()).collect();
    assert_eq!(reply.body["total"], names.len(), "{target}");
    names
}

/// Each filter by itself, several together, and those that nothing can match here.
#[tokio::test]
async fn a_list_takes_every_filter_of_the_contract() {
    let house = House::open().await;
    let token = house.project_token().await;
    let tags = json!([{"key": "team", "value": "a/b"}, {"key": "x"}]);
    let alpha = json!({"name": "alpha", "description": "the first one", "tags": tags});
    let alpha = create(&house, &token, alpha).await;
    let beta = json!({"name": "beta", "flavor": "modelarts.vm.cpu.2u", "tags": [{"key": "team", "value": "c"}]});
    create(&house, &token, beta).await;
    house.let_one_start();
    let id = alpha["id"].as_str().unwrap();
    let running = async |id: &str| {
        let target = format!("{}/notebooks/{id}", house.base());
        house.call(&token, "GET", &target, &Value::Null).await.body["status"] == "RUNNING"
    };
    // Either of the two may take the one place to start.
    let first = async {
        let mut changes = house.engine.route_changes();
        while !house.engine.census().contains_key(&Status::Running) {
            changes.changed().await.unwrap();
        }
        if running(id).await { "alpha" } else { "beta" }
    };
    let first = first.await;
    let image = atelier_core::image::BUILT_IN;
    let both = &["alpha", "beta"][..];
    let user = house.first.user_id.to_string();
    for (query, found) in [
        ("name=a", both),
        ("name=alp", &["alpha"]),
        ("description=first", &["alpha"]),
        ("flavor=cpu.2u", &["beta"]),
        ("flavor=cpu", both),
        ("swr_path=%3A", both),
        ("swr_path=no-such", &[]),
        (&format!("username={}", house.first.user_name), both),
        ("username=nobody", &[]),
        (&format!("id={id}"), &["alpha"]),
        (&format!("image_id={image}"), both),
        (&format!("image_id={id}"), &[]),
        (&format!("owner={user}"), both),
        ("tags=team%7Cc", &["beta"]),
        ("tags=x%7C,team%7Ca%2Fb", &["alpha"]),
        ("tags=x%7C,team%7Cc", &[]),
        ("billing=COMPUTE", &[first]),
        ("billing=ALL", &[]),
        ("billing=COMPUTE&status=STOPPED", &[]),
        ("ip=10.0.0.1", &[]),
        ("pool_id=some-pool", &[]),
        ("pool_name=pool", &[]),
        ("feature=DEFAULT", &[]),
        ("workspaceId=0&name=beta&tags=team%7Cc&flavor=2u", &["beta"]),
        ("name=beta&tags=x%7C", &[]),
    ] {
        assert_eq!(names(&house, &token, &format!("notebooks?{query}")).await, found, "{query}");
        assert_eq!(names(&house, &token, &format!("notebooks/all?{query}")).await, found, "all, {query}");
    }
}

/// Somebody else's notebooks are for administrators, also in the list of one's own; nobody gets their tokens.
#[tokio::test]
async fn another_owner_is_for_administrators() {
    let house = House::open().await;
    let token = house.project_token().await;
    let (member, member_token) = house.member().await;
    create(&house, &token, json!({"name": "mine"})).await;
    create(&house, &member_token, json!({"name": "theirs"})).await;
    let of = |owner: &str| format!("{}/notebooks?owner={owner}", house.base());
    let page = house.call(&token, "GET", &of(&member.to_string()), &Value::Null).await.body;
    assert_eq!((&page["total"], &page["data"][0]["name"]), (&json!(1), &json!("theirs")));
    assert!(page["data"][0].get("token").is_none());
    let own = house.call(&member_token, "GET", &of(&member.to_string()), &Value::Null).await.body;
    assert_eq!((&own["total"], own["data"][0]["token"].is_string()), (&json!(1), true));
    let refused = house.call(&member_token, "GET", &of(house.first.user_id.as_str()), &Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "ModelArts.0112"));
}
