//! The document that describes the API.

use std::collections::BTreeSet;

use http::StatusCode;

use crate::contract;
use crate::house::House;

/// Every operation that is served: method, path, operation.
pub(crate) fn served() -> BTreeSet<(String, String, String)> {
    let document = serde_json::to_value(atelier_api::document()).unwrap();
    let mut served = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            served.insert((method.to_uppercase(), path.clone(), id));
        }
    }
    served
}

#[test]
fn the_document_is_the_one_that_was_agreed() {
    insta::assert_json_snapshot!("openapi", atelier_api::document());
}

#[tokio::test]
async fn the_document_is_served_as_it_is() {
    let house = House::open().await;
    let reply = house.call("", "GET", "/openapi.json", &serde_json::Value::Null).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.body, serde_json::to_value(atelier_api::document()).unwrap());
}

/// An operation of the contract is answered at exactly the place that the contract gives it: served, or refused by name.
#[tokio::test]
async fn every_operation_of_the_contract_is_served_or_refused_by_name() {
    let house = House::open().await;
    let token = house.project_token().await;
    let served = served();
    let mut refused = 0;
    for operation in contract::operations() {
        let row = (operation.method.clone(), operation.path.clone(), operation.id.clone());
        if served.contains(&row) {
            continue;
        }
        let target = operation.path.replace("{project_id}", house.first.project_id.as_str());
        let target = target.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let target = target.collect::<Vec<_>>().join("/");
        let reply = house.call(&token, &operation.method, &target, &serde_json::Value::Null).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, "ModelArts.6651"), "{} {target}", operation.method);
        assert!(reply.message().contains(&format!("`{}`", operation.id)), "{}", reply.message());
        if operation.path.contains("demanager") {
            assert_eq!(reply.body["error_message"], reply.body["error_msg"]);
        }
        refused += 1;
    }
    assert_eq!(refused, 21);
}
