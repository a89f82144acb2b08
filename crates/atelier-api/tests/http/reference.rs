//! The page that draws the document.

use http::StatusCode;
use serde_json::Value;

use crate::house::House;

#[tokio::test]
async fn the_page_loads_what_it_needs_from_this_server_and_may_load_nothing_else() {
    let house = House::open().await;
    for path in ["/docs", "/docs/"] {
        let (status, headers, page) = house.fetch(path).await;
        assert_eq!((status, headers["content-type"].as_bytes()), (StatusCode::OK, &b"text/html; charset=utf-8"[..]));
        let policy = headers["content-security-policy"].to_str().unwrap();
        for rule in ["default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{rule}: {policy}");
        }
        let page = String::from_utf8(page).unwrap();
        assert!(!page.contains("//"), "an address of somebody else: {page}");
        for part in page.split('"').filter(|part| part.starts_with("/docs/")) {
            let (status, headers, file) = house.fetch(part).await;
            let kind = if part.contains(".css") { "text/css" } else { "text/javascript" };
            assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, kind), "{part}");
            assert!(file.len() > 100, "{part}");
        }
    }
}

#[tokio::test]
async fn no_other_file_is_served() {
    let house = House::open().await;
    for path in ["/docs/index.html", "/docs/swagger-initializer.js", "/docs/..%2fopenapi.json"] {
        let reply = house.call("", "GET", path, &Value::Null).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::NOT_FOUND, "APIG.0101"), "{path}");
    }
}
