//! The older forms of signatures, as their clients write them: the published vectors, the habits of a POST without a
//! body, and that every rule of the present form holds for them, too.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod support;

use std::net::{IpAddr, Ipv4Addr};

use atelier_core::Timestamp;
use atelier_iam::{AuthRefusal, MOST_SKEW_MS, TRIES};
use atelier_store::people::{AccessKey, PeopleChange};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use support::{Draft, VECTORS_AT, World, assert_bad_signature, hex};

const ACCESS: &str = "AKIDEXAMPLE0000000A";
const SECRET: &str = "SkExampleSecretKey0000000000000000000000A";
const DATE: &str = "20260115T083000Z";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Scoped,
    Derived,
}

const FORMS: [Form; 2] = [Form::Scoped, Form::Derived];

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

/// The value of `Authorization`, written from the description of the forms and not with the service's own code.
fn authorization(form: Form, scope: &str, names: &str, canonical: &str) -> String {
    let (keyword, key) = match form {
        Form::Scoped => {
            let first = format!("SDK{SECRET}").into_bytes();
            ("SDK-HMAC-SHA256", scope.split('/').fold(first, |key, link| hmac(&key, link.as_bytes())))
        }
        Form::Derived => {
            let extracted = hmac(ACCESS.as_bytes(), SECRET.as_bytes());
            let expanded = hmac(&extracted, format!("{scope}\u{1}").as_bytes());
            ("V11-HMAC-SHA256", hex(&expanded).into_bytes())
        }
    };
    let hash = hex(&Sha256::digest(canonical));
    let signature = hex(&hmac(&key, format!("{keyword}\n{DATE}\n{scope}\n{hash}").as_bytes()));
    format!("{keyword} Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}")
}

const fn scope(form: Form) -> &'static str {
    match form {
        Form::Scoped => "20260115/eu-de/modelarts/sdk_request",
        Form::Derived => "20260115/eu-de/modelarts",
    }
}

/// A request and its canonical form. `query` and `body_hash_of` stand in the form as they are written here.
fn signed(form: Form, scope: &str, method: &str, query: &str, in_form: (&str, &str)) -> Draft {
    let draft = Draft::new(method, "/v3/projects", query).header("x-note", "a  b").header("x-sdk-date", DATE);
    let note = if form == Form::Scoped { "a b" } else { "a  b" };
    let (query_in_form, hashed) = in_form;
    let hash = hex(&Sha256::digest(hashed));
    let names = "host;x-note;x-sdk-date";
    let lines = format!("host:localhost:8080\nx-note:{note}\nx-sdk-date:{DATE}\n");
    let canonical = format!("{method}\n/v3/projects/\n{query_in_form}\n{lines}\n{names}\n{hash}");
    draft.header("authorization", &authorization(form, scope, names, &canonical))
}

fn usual(form: Form) -> Draft {
    signed(form, scope(form), "GET", "name=local", ("name=local", ""))
}

async fn world() -> World {
    let world = World::new().await;
    let key = AccessKey {
        access: ACCESS.into(),
        secret: SECRET.into(),
        user_id: world.admin.user_id.clone(),
        active: true,
        description: String::new(),
        created_at: Timestamp::from_millis(0),
        session: None,
    };
    world.change(vec![PeopleChange::PutAccessKey(key)]).await;
    world
}

/// The vectors name a project that this user does not have, which is found out only behind the signature.
#[tokio::test]
async fn the_published_vectors_verify() {
    let world = world().await;
    let project = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let vector = |query: &str, value: &str| {
        let mut draft = Draft::new("GET", &format!("/v1/{project}/notebooks"), query)
            .header("content-type", "application/json")
            .header("x-project-id", project)
            .header("x-sdk-date", DATE)
            .header("authorization", value);
        *draft.value("host") = "modelarts.eu-de.example.com".into();
        draft
    };
    let names = "SignedHeaders=content-type;host;x-project-id;x-sdk-date";
    let fifth = format!(
        "SDK-HMAC-SHA256 Credential={ACCESS}/20260115///sdk_request, {names}, \
         Signature=366bb7e50a20443960b79f2d46032229cbf0ee4133f2325f18336f7893674cf0"
    );
    let sixth = format!(
        "V11-HMAC-SHA256 Credential={ACCESS}/20260115/eu-de/modelarts, {names}, \
         Signature=c73934aea443331ff1d70a4947e99c4680c2bf7b0037a763d973885ea083b61c"
    );
    for (query, value) in [("limit=10&offset=0", &fifth), ("limit=10", &sixth)] {
        assert_eq!(vector(query, value).check(&world.iam), Err(AuthRefusal::ForeignProject), "{value}");
        assert_bad_signature(vector("limit=11", value).check(&world.iam));
    }
}

#[tokio::test]
async fn both_forms_prove_their_signer_and_nothing_that_was_changed() {
    let world = world().await;
    for (nth, form) in FORMS.into_iter().enumerate() {
        assert_eq!(usual(form).check(&world.iam).unwrap().user_id, world.admin.user_id, "{form:?}");
        let changed: [&dyn Fn(&mut Draft); 7] = [
            &|draft| draft.method = "PUT".into(),
            &|draft| draft.path.push('x'),
            &|draft| draft.query.push('x'),
            &|draft| draft.value("x-note").push('x'),
            &|draft| draft.body.push(b'x'),
            &|draft| *draft.value("authorization") = draft.value("authorization").replace("eu-de", "eu-df"),
            &|draft| *draft.value("x-sdk-date") = "20260115T083001Z".into(),
        ];
        for (change, last) in changed.iter().zip(1..) {
            let mut draft = usual(form);
            // Everybody from an address of their own, so that no lock refuses in the signature's place.
            draft.from = Ipv4Addr::new(10, 0, u8::try_from(nth).unwrap(), last).into();
            change(&mut draft);
            assert_bad_signature(draft.check(&world.iam));
        }
    }
}

/// One form's header is not the other's, though both may carry the same words.
#[tokio::test]
async fn inner_blanks_collapse_only_in_the_scoped_form() {
    let world = world().await;
    let mut scoped = usual(Form::Scoped);
    *scoped.value("x-note") = "a     b".into();
    assert!(scoped.check(&world.iam).is_ok());
    let mut derived = usual(Form::Derived);
    *derived.value("x-note") = "a b".into();
    assert_bad_signature(derived.check(&world.iam));
}

#[tokio::test]
async fn a_post_without_a_body_may_be_signed_with_its_query_as_the_body() {
    let world = world().await;
    let post = |form: Form, in_form: (&str, &str)| signed(form, scope(form), "POST", "b=x%20y&a=-1", in_form);
    for in_form in [("a=-1&b=x%20y", ""), ("", "a=-1&b=x%20y"), ("", "a=-1&b=x+y")] {
        assert!(post(Form::Scoped, in_form).check(&world.iam).is_ok(), "{in_form:?}");
    }
    assert!(post(Form::Derived, ("a=-1&b=x%20y", "")).check(&world.iam).is_ok());
    assert_bad_signature(post(Form::Derived, ("", "a=-1&b=x%20y")).check(&world.iam));
    assert_bad_signature(post(Form::Scoped, ("", "")).check(&world.iam));
    let mut other_query = post(Form::Scoped, ("", "a=-1&b=x%20y"));
    other_query.query = "b=x%20y&a=1".into();
    assert_bad_signature(other_query.check(&world.iam));
    let get = signed(Form::Scoped, scope(Form::Scoped), "GET", "a=-1", ("", "a=-1"));
    assert_bad_signature(get.check(&world.iam));
}

#[tokio::test]
async fn a_scope_counts_for_its_own_day() {
    let world = world().await;
    for form in FORMS {
        for day in ["20260114", "2026011", "", "202601150"] {
            let scope = scope(form).replace("20260115", day);
            let refusal = signed(form, &scope, "GET", "", ("", "")).check(&world.iam).unwrap_err();
            assert!(refusal.to_string().contains("must be the day of `X-Sdk-Date`"), "{form:?} {day}: {refusal}");
        }
        assert!(signed(form, &scope(form).replace("eu-de", ""), "GET", "", ("", "")).check(&world.iam).is_ok());
    }
}

#[tokio::test]
async fn clocks_may_be_fifteen_minutes_apart_in_every_form() {
    let world = world().await;
    for form in FORMS {
        for (apart, accepted) in [(MOST_SKEW_MS, true), (MOST_SKEW_MS + 1, false), (-MOST_SKEW_MS - 1, false)] {
            world.clock.set(Timestamp::from_millis(VECTORS_AT + apart));
            assert_eq!(usual(form).check(&world.iam).is_ok(), accepted, "{form:?} {apart}");
        }
    }
}

/// A lock that held for one form only would leave the others to go on trying.
#[tokio::test]
async fn bad_signatures_of_all_forms_count_together() {
    let world = world().await;
    let from = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    for nth in 0..TRIES {
        let mut bad = usual(FORMS[usize::try_from(nth).unwrap() % 2]);
        (bad.from, bad.method) = (from, "PUT".into());
        assert_bad_signature(bad.check(&world.iam));
    }
    for form in FORMS {
        let mut right = usual(form);
        right.from = from;
        let refusal = right.check(&world.iam).unwrap_err();
        assert!(refusal.to_string().contains("too many bad signatures"), "{form:?}: {refusal}");
        assert!(usual(form).check(&world.iam).is_ok(), "its owner elsewhere");
    }
    let plain = Draft::new("GET", "/v3/projects", "").signed(Timestamp::from_millis(VECTORS_AT), ACCESS, SECRET);
    assert!(Draft { from, ..plain }.check(&world.iam).is_err(), "the present form is locked, too");
}
