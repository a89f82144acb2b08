//! The body of `POST /v3/auth/tokens`: who somebody says they are, how they prove it, and where the token shall count.
//!
//! Read member by member, because a refusal names the place that is wrong. Members that mean nothing here are passed
//! over, as identity services do.

use std::fmt;

use atelier_store::people::Method;
use secrecy::SecretString;
use serde_json::Value;

use crate::refusal::IamRefusal;

/// A request for a token.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// What shall prove who asks.
    pub evidence: Evidence,
    /// Where the token shall count.
    pub scope: WantedScope,
}

/// What shall prove who asks.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// A user and their password.
    Password {
        /// The user.
        user: WantedUser,
        /// Their password.
        password: SecretString,
    },
    /// An earlier token.
    Token(SecretString),
}

/// A user, as somebody names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedUser {
    /// By id.
    Id(String),
    /// By name, in a domain.
    Name(String, NameOrId),
}

/// A thing, as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOrId {
    /// By name.
    Name(String),
    /// By id.
    Id(String),
}

impl NameOrId {
    /// Whether this is what clients send that were never told a domain: they mean the user's own.
    pub(crate) fn is_default(&self) -> bool {
        matches!(self, Self::Id(id) if id == "default")
    }
}

/// Where a token shall count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedScope {
    /// Wherever the user's tokens count when nothing is said: in their domain.
    Default,
    /// In a project.
    Project {
        /// The project.
        project: NameOrId,
        /// The domain it must belong to, when one is named.
        domain: Option<NameOrId>,
    },
    /// In a domain.
    Domain(NameOrId),
}

impl AuthRequest {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, IamRefusal> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| IamRefusal::bad_request("the body must be a JSON object"))?;
        let auth = Place { path: String::new(), value: &body }.need("auth")?;
        let evidence = evidence(&auth.need("identity")?)?;
        let scope = auth.member("scope")?.map_or(Ok(WantedScope::Default), |scope| wanted_scope(&scope))?;
        Ok(Self { evidence, scope })
    }
}

fn evidence(identity: &Place<'_>) -> Result<Evidence, IamRefusal> {
    match method(&identity.need("methods")?)? {
        Method::Password => password(&identity.need("password")?.need("user")?),
        Method::Token => Ok(Evidence::Token(identity.need("token")?.need("id")?.text()?.into())),
    }
}

/// One method, and one that is known. What is not offered is no proof, so it is a 401.
fn method(methods: &Place<'_>) -> Result<Method, IamRefusal> {
    let wrong = || IamRefusal::bad_request(format!("`{methods}` must be [\"password\"] or [\"token\"]"));
    let list = methods.value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
    let mut known = Vec::new();
    for name in list {
        let name = name.as_str().ok_or_else(wrong)?;
        known.push(Method::named(name).ok_or_else(|| not_offered(name))?);
    }
    known.dedup();
    <[Method; 1]>::try_from(known).map(|[method]| method).map_err(|_| wrong())
}

fn not_offered(method: &str) -> IamRefusal {
    let method: String = method.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).take(32).collect();
    IamRefusal::new(401, format!("authentication method `{method}` is not supported by this server"))
}

fn password(user: &Place<'_>) -> Result<Evidence, IamRefusal> {
    let wanted = match user.member("id")? {
        Some(id) => WantedUser::Id(id.text()?.to_owned()),
        None => WantedUser::Name(user.need("name")?.text()?.to_owned(), name_or_id(&user.need("domain")?)?),
    };
    Ok(Evidence::Password { user: wanted, password: user.need("password")?.text()?.into() })
}

/// Keystone also knows the word "unscoped"; an empty object says as little.
fn wanted_scope(scope: &Place<'_>) -> Result<WantedScope, IamRefusal> {
    if scope.value == "unscoped" {
        return Ok(WantedScope::Default);
    }
    match (scope.member("project")?, scope.member("domain")?) {
        (None, None) if scope.is_empty() => Ok(WantedScope::Default),
        (Some(project), None) => {
            let domain = project.member("domain")?.map(|domain| name_or_id(&domain)).transpose()?;
            Ok(WantedScope::Project { project: name_or_id(&project)?, domain })
        }
        (None, Some(domain)) => name_or_id(&domain).map(WantedScope::Domain),
        _ => Err(IamRefusal::bad_request(format!("`{scope}` must be one of `project` and `domain`"))),
    }
}

fn name_or_id(place: &Place<'_>) -> Result<NameOrId, IamRefusal> {
    if let Some(id) = place.member("id")? {
        return Ok(NameOrId::Id(id.text()?.to_owned()));
    }
    let name = place.member("name")?;
    let name = name.ok_or_else(|| IamRefusal::bad_request(format!("`{place}.id` or `{place}.name` is required")))?;
    Ok(NameOrId::Name(name.text()?.to_owned()))
}

/// A value and where it stands.
struct Place<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Place<'a> {
    /// A member; `null` is as good as none.
    fn member(&self, name: &str) -> Result<Option<Place<'a>>, IamRefusal> {
        let members = self.value.as_object();
        let members = members.ok_or_else(|| IamRefusal::bad_request(format!("{self:#} must be a JSON object")))?;
        let value = members.get(name).filter(|value| !value.is_null());
        Ok(value.map(|value| Place { path: self.path_of(name), value }))
    }

    fn need(&self, name: &str) -> Result<Place<'a>, IamRefusal> {
        let member = self.member(name)?;
        member.ok_or_else(|| IamRefusal::bad_request(format!("`{}` is required", self.path_of(name))))
    }

    fn text(&self) -> Result<&'a str, IamRefusal> {
        self.value.as_str().ok_or_else(|| IamRefusal::bad_request(format!("`{self}` must be a string")))
    }

    fn is_empty(&self) -> bool {
        self.value.as_object().is_some_and(serde_json::Map::is_empty)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The path; with `#`, also a name for the body as a whole.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (f.alternate(), self.path.is_empty()) {
            (true, true) => f.write_str("the body"),
            (true, false) => write!(f, "`{}`", self.path),
            (false, _) => f.write_str(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<AuthRequest, IamRefusal> {
        AuthRequest::parse(body.to_string().as_bytes())
    }

    fn with_scope(scope: &Value) -> Result<WantedScope, IamRefusal> {
        let identity = json!({"methods": ["token"], "token": {"id": "t"}});
        parse(&json!({"auth": {"identity": identity, "scope": scope}})).map(|request| request.scope)
    }

    fn with_user(user: &Value) -> Result<WantedUser, IamRefusal> {
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        match parse(&json!({"auth": {"identity": identity}}))?.evidence {
            Evidence::Password { user, password } => {
                assert_eq!(password.expose_secret(), "p");
                Ok(user)
            }
            Evidence::Token(_) => panic!("not a password"),
        }
    }

    fn name(text: &str) -> NameOrId {
        NameOrId::Name(text.into())
    }

    fn id(text: &str) -> NameOrId {
        NameOrId::Id(text.into())
    }

    #[test]
    fn users_are_named_by_id_or_by_name_and_domain() {
        let by_name = WantedUser::Name("admin".into(), name("atelier"));
        assert_eq!(with_user(&json!({"name": "admin", "domain": {"name": "atelier"}, "password": "p"})), Ok(by_name));
        let by_default = WantedUser::Name("admin".into(), id("default"));
        assert_eq!(with_user(&json!({"name": "admin", "domain": {"id": "default"}, "password": "p"})), Ok(by_default));
        assert_eq!(with_user(&json!({"id": "u", "name": "x", "password": "p"})), Ok(WantedUser::Id("u".into())));
    }

    #[test]
    fn scopes_are_projects_domains_or_nothing() {
        let project = |project, domain| Ok(WantedScope::Project { project, domain });
        assert_eq!(with_scope(&json!({"project": {"name": "local"}})), project(name("local"), None));
        assert_eq!(
            with_scope(&json!({"project": {"name": "local", "domain": {"id": "default"}}})),
            project(name("local"), Some(id("default")))
        );
        assert_eq!(with_scope(&json!({"project": {"id": "p"}})), project(id("p"), None));
        assert_eq!(with_scope(&json!({"domain": {"name": "atelier"}})), Ok(WantedScope::Domain(name("atelier"))));
        for nothing in [json!(null), json!({}), json!("unscoped")] {
            assert_eq!(with_scope(&nothing), Ok(WantedScope::Default));
        }
    }

    #[test]
    fn refusals_name_the_place_and_what_would_be_accepted() {
        let says = |body: Value| {
            let refusal = parse(&body).unwrap_err();
            (refusal.http, refusal.message)
        };
        let bad = |message: &str| (400, message.to_owned());
        assert_eq!(says(json!([])), bad("the body must be a JSON object"));
        assert_eq!(says(json!({})), bad("`auth` is required"));
        assert_eq!(says(json!({"auth": 1})), bad("`auth` must be a JSON object"));
        assert_eq!(says(json!({"auth": {}})), bad("`auth.identity` is required"));
        let identity = |identity: Value| json!({"auth": {"identity": identity}});
        assert_eq!(says(identity(json!({}))), bad("`auth.identity.methods` is required"));
        for wrong in [json!([]), json!("password"), json!([1]), json!(["password", "token"])] {
            let wanted = bad("`auth.identity.methods` must be [\"password\"] or [\"token\"]");
            assert_eq!(says(identity(json!({"methods": wrong}))), wanted);
        }
        assert_eq!(
            says(identity(json!({"methods": ["password"], "password": {"user": {"name": "a", "password": "p"}}}))),
            bad("`auth.identity.password.user.domain` is required")
        );
        assert_eq!(
            says(identity(json!({"methods": ["password"], "password": {"user": {"id": "u", "password": 1}}}))),
            bad("`auth.identity.password.user.password` must be a string")
        );
        assert_eq!(
            says(identity(json!({"methods": ["token"], "token": {}}))),
            bad("`auth.identity.token.id` is required")
        );
        assert_eq!(
            with_scope(&json!({"project": {"id": "p"}, "domain": {"id": "d"}})).unwrap_err().message,
            "`auth.scope` must be one of `project` and `domain`"
        );
        assert_eq!(
            with_scope(&json!({"project": {}})).unwrap_err().message,
            "`auth.scope.project.id` or `auth.scope.project.name` is required"
        );
        assert_eq!(with_scope(&json!({"trust": {}})).unwrap_err().http, 400);
    }

    #[test]
    fn what_is_no_json_is_refused_and_not_repeated() {
        let refusal = AuthRequest::parse(b"{\"secret\": ").unwrap_err();
        assert_eq!((refusal.http, refusal.message.as_str()), (400, "the body must be a JSON object"));
    }

    #[test]
    fn second_factors_are_not_offered() {
        let body = json!({"auth": {"identity": {"methods": ["password", "totp"], "password": {"user": {}}}}});
        let refusal = parse(&body).unwrap_err();
        assert_eq!(refusal.http, 401);
        assert_eq!(refusal.message, "authentication method `totp` is not supported by this server");
    }

    #[test]
    fn a_password_never_shows_in_debug_output() {
        let user = json!({"id": "u", "password": "hunter2"});
        let request = parse(&json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}));
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
