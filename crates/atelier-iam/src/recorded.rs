//! What a change of the directory is recorded as: the fields that differ, before and after.
//!
//! It follows from the changes themselves and from the directory that they were decided on, so that no call has to say
//! it, and none can forget it. Secrets are named and never shown: that a password was set is told, its hash is not.

use atelier_core::audit::{AuditRecord, FieldChange};
use atelier_core::clock::Timestamp;
use atelier_store::people::{AccessKey, Grant, GrantTarget, PeopleChange, User};

use crate::people::People;

/// The record of `call`, which makes these changes of `people`.
pub(crate) fn recorded(call: &AuditRecord, at: Timestamp, people: &People, changes: &[PeopleChange]) -> PeopleChange {
    let changes = changes.iter().flat_map(|change| of_change(people, change)).collect();
    PeopleChange::Record(Box::new(AuditRecord { at, changes, ..call.clone() }))
}

fn of_change(people: &People, change: &PeopleChange) -> Vec<FieldChange> {
    match change {
        PeopleChange::PutUser(user) => of_user(people.user(&user.id), user),
        PeopleChange::PutAccessKey(key) => of_key(people.any_key(&key.access), Some(key)),
        PeopleChange::RemoveAccessKey(access) => of_key(people.any_key(access), None),
        PeopleChange::Give(grant) => of_role(people, grant, true),
        PeopleChange::Take(grant) => of_role(people, grant, false),
        PeopleChange::PutDomain(domain) => vec![differing("domain", None, Some(domain.name.clone()))],
        PeopleChange::PutProject(project) => vec![differing("project", None, Some(project.name.clone()))],
        PeopleChange::RemoveTokensOf(id) => {
            let whose = people.user(id).map_or_else(|| id.to_string(), |user| user.name.clone());
            vec![differing("tokens", Some(format!("all of {whose}")), None)]
        }
        PeopleChange::RemoveToken(_) => vec![differing("token", Some("valid".into()), Some("revoked".into()))],
        PeopleChange::Record(_) => Vec::new(),
    }
}

fn differing(field: &str, before: Option<String>, after: Option<String>) -> FieldChange {
    FieldChange { field: field.into(), before, after }
}

/// What of a thing is shown, by the names of its fields.
type Shown<const N: usize> = [(&'static str, Option<String>); N];

/// The fields that differ, in this order.
fn compared<const N: usize>(before: Option<&Shown<N>>, after: Option<&Shown<N>>) -> Vec<FieldChange> {
    let value = |fields: Option<&Shown<N>>, at: usize| fields.and_then(|fields| fields[at].1.clone());
    let names = before.or(after).into_iter().flatten().enumerate();
    names
        .map(|(at, (name, _))| differing(name, value(before, at), value(after, at)))
        .filter(|change| change.before != change.after)
        .collect()
}

fn of_user(before: Option<&User>, after: &User) -> Vec<FieldChange> {
    let shown = |user: &User| {
        [
            ("user.id", Some(user.id.to_string())),
            ("user.name", Some(user.name.clone())),
            ("user.enabled", Some(user.enabled.to_string())),
        ]
    };
    let mut changes = compared(before.map(shown).as_ref(), Some(&shown(after)));
    if before.is_none_or(|before| !is_same_password(before, after)) {
        let set = |user: &User| Some(if user.password_hash.is_some() { "set" } else { "none" }.to_owned());
        changes.push(match before {
            None => differing("user.password", None, set(after)),
            Some(before) => differing("user.password", set(before), Some("replaced".into())),
        });
    }
    changes
}

fn is_same_password(one: &User, other: &User) -> bool {
    use secrecy::ExposeSecret as _;
    let hash = |user: &User| user.password_hash.as_ref().map(|hash| hash.expose_secret().to_owned());
    hash(one) == hash(other)
}

fn of_key(before: Option<&AccessKey>, after: Option<&AccessKey>) -> Vec<FieldChange> {
    let shown = |key: &AccessKey| {
        [
            ("access_key", Some(key.access.clone())),
            ("access_key.user_id", Some(key.user_id.to_string())),
            ("access_key.status", Some(if key.active { "active" } else { "inactive" }.to_owned())),
            ("access_key.description", Some(key.description.clone()).filter(|text| !text.is_empty())),
            ("access_key.expires_at", key.session.as_ref().map(|session| session.expires_at.as_millis().to_string())),
        ]
    };
    compared(before.map(shown).as_ref(), after.map(shown).as_ref())
}

fn of_role(people: &People, grant: &Grant, given: bool) -> Vec<FieldChange> {
    if people.roles(&grant.user_id, &grant.target).contains(&grant.role) == given {
        return Vec::new();
    }
    let place = match &grant.target {
        GrantTarget::Project(id) => format!("project {id}"),
        GrantTarget::Domain(id) => format!("domain {id}"),
    };
    let told = Some(format!("{} in {place}", grant.role.as_str()));
    vec![if given { differing("user.role", None, told) } else { differing("user.role", told, None) }]
}
