//! The names of the operations, found by method and path as the router knows it.
//!
//! They come from the document and from the table of what is not offered, so a name is said in one place only.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;

use crate::docket::Docket;
use crate::v1::not_offered::NOT_OFFERED;

/// The names at one path, by method.
type AtPath = Vec<(Method, Arc<str>)>;

/// The names, by path.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<HashMap<String, AtPath>>);

impl Names {
    /// The names of everything that is served or refused by name.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let mut names: HashMap<String, AtPath> = HashMap::new();
        for (path, item) in &document.paths.paths {
            let operations: [(Method, Option<&Operation>); 6] = [
                (Method::GET, item.get.as_ref()),
                (Method::POST, item.post.as_ref()),
                (Method::PUT, item.put.as_ref()),
                (Method::PATCH, item.patch.as_ref()),
                (Method::DELETE, item.delete.as_ref()),
                (Method::HEAD, item.head.as_ref()),
            ];
            for (method, operation) in operations {
                if let Some(id) = operation.and_then(|operation| operation.operation_id.as_deref()) {
                    names.entry(path.clone()).or_default().push((method, id.into()));
                }
            }
        }
        for (method, path, id) in NOT_OFFERED {
            names.entry((*path).to_owned()).or_default().push((method_of(*method), (*id).into()));
        }
        for (path, id) in
            [("/openapi.json", "ShowDocument"), ("/docs", "ShowReference"), ("/docs/{file}", "ShowReference")]
        {
            names.entry(path.to_owned()).or_default().push((Method::GET, id.into()));
        }
        Self(Arc::new(names))
    }

    /// Writes the name of the operation on the request's docket.
    pub(crate) fn note(&self, request: &Request) {
        let extensions = request.extensions();
        if let (Some(docket), Some(path)) = (Docket::of(extensions), extensions.get::<MatchedPath>())
            && let Some(name) = self.find(request.method(), path.as_str())
        {
            docket.is(name.clone());
        }
    }

    fn find(&self, method: &Method, path: &str) -> Option<&Arc<str>> {
        // What answers GET answers HEAD.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.0.get(path)?.iter().find(|(known, _)| known == method).map(|(_, name)| name)
    }
}

fn method_of(filter: axum::routing::MethodFilter) -> Method {
    use axum::routing::MethodFilter as F;
    match filter {
        F::POST => Method::POST,
        F::PUT => Method::PUT,
        F::PATCH => Method::PATCH,
        F::DELETE => Method::DELETE,
        _ => Method::GET,
    }
}
