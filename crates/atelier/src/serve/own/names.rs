//! The names of Atelier's own operations, for figures, log and audit.
//!
//! They follow from the route, so that a new route has its name without anybody keeping a list: the method's verb and the
//! fixed parts of the path. `POST …/images/{id}/build` is `PostImagesBuild`. There are as many names as routes.

use atelier_api::Docket;
use axum::extract::{MatchedPath, Request};
use http::Method;

/// Writes the name of the operation on the request's docket.
pub(super) fn note(request: &Request) {
    let extensions = request.extensions();
    if let (Some(docket), Some(path)) = (Docket::of(extensions), extensions.get::<MatchedPath>()) {
        docket.is(name_of(request.method(), path.as_str()).into());
    }
}

fn name_of(method: &Method, path: &str) -> String {
    let verb = match *method {
        Method::GET | Method::HEAD => "Get",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        Method::DELETE => "Delete",
        _ => "Other",
    };
    let path = path.strip_prefix("/atelier/v1/{project_id}").unwrap_or(path);
    let words = path.split(['/', '-', '_']).filter(|word| !word.starts_with('{'));
    words.fold(verb.to_owned(), |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_verb_and_the_fixed_parts_of_the_route() {
        for (method, path, name) in [
            (Method::GET, "/atelier/v1/{project_id}/notebooks/{id}/events", "GetNotebooksEvents"),
            (Method::POST, "/atelier/v1/{project_id}/images/{id}/build", "PostImagesBuild"),
            (Method::DELETE, "/atelier/v1/{project_id}/access-keys/{id}", "DeleteAccessKeys"),
            (Method::GET, "/metrics", "GetMetrics"),
        ] {
            assert_eq!(name_of(&method, path), name);
        }
    }
}
