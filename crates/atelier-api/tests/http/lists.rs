//! Lists and their pages.

use serde_json::{Value, json};

use crate::answers::create;
use crate::house::House;

/// Six notebooks, a second apart; names sort the other way round than times.
async fn filled() -> (House, String) {
    let house = House::open().await;
    let token = house.project_token().await;
    for name in ["f", "e", "d", "c", "b-x", "a-x"] {
        create(&house, &token, json!({"name": name})).await;
        house.time.advance(1000);
    }
    (house, token)
}

fn names(page: &Value) -> String {
    page["data"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn notebooks_are_listed_in_pages() {
    let (house, token) = filled().await;
    for (query, expected, current, pages, size, total) in [
        ("", "a-x b-x c d e f", 0, 1, 10, 6),
        ("limit=4", "a-x b-x c d", 0, 2, 4, 6),
        ("limit=4&offset=4", "e f", 1, 2, 4, 6),
        ("limit=2&offset=3", "d e", 1, 3, 2, 6),
        ("limit=4&offset=100", "", 25, 2, 4, 6),
        ("sort_dir=ASC&limit=2", "f e", 0, 3, 2, 6),
        ("sort_key=name&sort_dir=asc&limit=3", "a-x b-x c", 0, 2, 3, 6),
        ("sort_key=createTime", "a-x b-x c d e f", 0, 1, 10, 6),
        ("name=-x", "a-x b-x", 0, 1, 10, 2),
        ("name=-x&limit=1&offset=1", "b-x", 1, 2, 1, 2),
        ("status=creating&workspaceId=0&feature=Notebook", "a-x b-x c d e f", 0, 1, 10, 6),
        ("status=RUNNING", "", 0, 0, 10, 0),
        ("feature=DEFAULT", "", 0, 0, 10, 0),
        ("name=&status=&unknown=1", "a-x b-x c d e f", 0, 1, 10, 6),
    ] {
        let page = house.call(&token, "GET", &format!("{}/notebooks?{query}", house.base()), &Value::Null).await.body;
        assert_eq!(names(&page), expected, "{query}");
        let numbers = json!([page["current"], page["pages"], page["size"], page["total"]]);
        assert_eq!(numbers, json!([current, pages, size, total]), "{query}");
    }
}

#[tokio::test]
async fn flavors_stand_under_both_names_and_on_one_page() {
    let house = House::open().await;
    let token = house.project_token().await;
    let target = format!("{}/notebooks/flavors", house.base());
    let page = house.call(&token, "GET", &target, &Value::Null).await.body;
    assert_eq!(page["data"], page["flavors"]);
    assert_eq!(json!([page["current"], page["pages"], page["size"], page["total"]]), json!([1, 1, 4, 4]));
    let small = page["data"].as_array().unwrap().iter().find(|f| f["id"] == "atelier.cpu.small").unwrap();
    assert_eq!((&small["vcpus"], &small["memory"], &small["sold_out"]), (&json!(1), &json!(524_288), &json!(false)));
    let page = house.call(&token, "GET", &format!("{target}?limit=3&offset=3"), &Value::Null).await.body;
    assert_eq!(json!([page["current"], page["pages"], page["size"], page["total"]]), json!([1, 2, 3, 4]));
}

#[tokio::test]
async fn the_built_in_image_is_listed() {
    let house = House::open().await;
    let token = house.project_token().await;
    let target = format!("{}/images", house.base());
    let page = house.call(&token, "GET", &target, &Value::Null).await.body;
    assert_eq!(json!([page["current"], page["pages"], page["size"], page["total"]]), json!([0, 1, 200, 1]));
    let image = &page["data"][0];
    assert_eq!(image["id"], atelier_core::image::BUILT_IN.to_string());
    assert_eq!((&image["type"], &image["status"]), (&json!("BUILD_IN"), &json!("ACTIVE")));
    assert_eq!(image["dev_services"], json!(["NOTEBOOK"]));
    let none = house.call(&token, "GET", &format!("{target}?type=DEDICATED"), &Value::Null).await.body;
    assert_eq!(json!([none["data"], none["total"]]), json!([[], 0]));
}
