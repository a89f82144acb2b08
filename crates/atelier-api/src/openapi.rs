//! The document that describes this API, made from the handlers themselves: a path that is served is in it, and what is
//! in it is served.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Info, License, OpenApi, OpenApiBuilder};

/// The document before any path was added.
pub(crate) fn frame() -> OpenApi {
    let mut info = Info::new("Atelier", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Development environments on your own machines, by the ModelArts DevEnviron API. Operations of that API \
         that are not listed here are refused with ModelArts.6651."
            .to_owned(),
    );
    info.license = Some(License::new("Apache-2.0"));
    let mut components = Components::new();
    components.add_security_scheme("Token", scheme("X-Auth-Token", "A project-scoped token."));
    components.add_security_scheme(
        "AkSk",
        scheme("Authorization", "A request signature, SDK-HMAC-SHA256 or V11-HMAC-SHA256."),
    );
    let none: [&str; 0] = [];
    let either = ["Token", "AkSk"].map(|name| SecurityRequirement::new(name, none));
    OpenApiBuilder::new().info(info).components(Some(components)).security(Some(either)).build()
}

fn scheme(header: &str, description: &str) -> SecurityScheme {
    SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(header, description)))
}
