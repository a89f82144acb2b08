//! `/docs`: the document for people. A page that draws `/openapi.json` with Swagger UI, and the two files that it needs.
//!
//! Everything comes from this server. The page's policy lets the browser load nothing from anywhere else, run no script
//! that stands in a page, and show the page in no frame: it lives at the API's address, beside people's credentials.
//!
//! The page is ours and not the library's: its own asks a validator on the internet what it thinks of the document.

use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use std::sync::Arc;
use utoipa_swagger_ui::Config;

use crate::call::no_such_api;

/// Styles are the exception: the library writes them into elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("reference/page.html");
const START: &str = include_str!("reference/start.js");

/// The page.
pub(crate) async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response()
}

/// A file of the page.
pub(crate) async fn file(Path(name): Path<String>) -> Response {
    match name.as_str() {
        "start.js" => ([(CONTENT_TYPE, "text/javascript")], START).into_response(),
        "swagger-ui.css" | "swagger-ui-bundle.js" => of_library(&name),
        _ => no_such_api().into_response(),
    }
}

/// The library keeps its files compressed, and every browser reads them so.
fn of_library(name: &str) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(name, Arc::new(Config::from("/openapi.json"))) else {
        return no_such_api().into_response();
    };
    let mut response = ([(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response();
    if file.gzpipped {
        response.headers_mut().insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    }
    response
}
