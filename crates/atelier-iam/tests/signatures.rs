//! Signed requests: the published vectors, and everything that must not pass.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod support;

use std::net::{IpAddr, Ipv4Addr};

use atelier_core::Timestamp;
use atelier_core::id::{ProjectId, UserId};
use atelier_iam::{AuthRefusal, Iam, LOCKED_MS, MOST_SKEW_MS, Proof, Scope, TRIES};
use atelier_store::people::{
    AccessKey, Grant, GrantTarget, KeyParent, KeySession, PeopleChange, Project, Role, TokenHash,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use support::{Draft, HERE, VECTORS_AT, World, assert_bad_signature};

const ACCESS: &str = "AKIDEXAMPLE0000000A";
const SECRET: &str = "SkExampleSecretKey0000000000000000000000A";
const PROJECT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const NOTEBOOKS: &str = "/v1/0f1e2d3c4b5a69788796a5b4c3d2e1f0/notebooks";
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// A world that has the key and the project of the vectors.
async fn world(session: Option<KeySession>) -> World {
    let world = World::new().await;
    let parent = KeyParent::Key(world.admin.access_key.clone());
    let session = session.map(|session| KeySession { parent, ..session });
    let (user_id, project_id): (UserId, ProjectId) = (world.admin.user_id.clone(), PROJECT.parse().unwrap());
    let project = Project {
        id: project_id.clone(),
        domain_id: world.admin.domain_id.clone(),
        name: "eu-de".into(),
        description: String::new(),
    };
    world
        .change(vec![
            PeopleChange::PutProject(project),
            PeopleChange::Give(Grant {
                user_id: user_id.clone(),
                target: GrantTarget::Project(project_id),
                role: Role::Member,
            }),
            PeopleChange::PutAccessKey(key(user_id, session)),
        ])
        .await;
    world
}

fn key(user_id: UserId, session: Option<KeySession>) -> AccessKey {
    AccessKey {
        access: ACCESS.into(),
        secret: SECRET.into(),
        user_id,
        active: true,
        description: String::new(),
        created_at: Timestamp::from_millis(0),
        session,
    }
}

/// A request of the vectors: the usual four headers and the published signature.
fn vector(method: &str, path: &str, query: &str, content_type: &str, signature: &str) -> Draft {
    let mut draft = Draft::new(method, path, query)
        .header("content-type", content_type)
        .header("x-project-id", PROJECT)
        .header("x-sdk-date", "20260115T083000Z")
        .header("user-agent", "sent, but not signed");
    *draft.value("host") = "modelarts.eu-de.example.com".into();
    authorize(draft, "content-type;host;x-project-id;x-sdk-date", signature)
}

fn authorize(draft: Draft, names: &str, signature: &str) -> Draft {
    let value = format!("SDK-HMAC-SHA256 Access={ACCESS}, SignedHeaders={names}, Signature={signature}");
    draft.header("authorization", &value)
}

fn vector_1() -> Draft {
    let query = "workspace_id=0&limit=10&offset=0&name=my%20nb%2F1&sort_dir=DESC";
    let signature = "6754a80307ea260b14f61be56584d56e2effba0379601c9c25f6072f17d23952";
    vector("GET", NOTEBOOKS, query, "application/json", signature)
}

fn vector_2() -> Draft {
    let signature = "c324d30165ddc16acd4b84828cf21906fbd865d27fdd263a04a4d9825876997e";
    vector("POST", NOTEBOOKS, "", "application/json;charset=utf-8", signature)
        .body(r#"{"name": "nb", "flavor": "modelarts.vm.cpu.2u"}"#)
}

fn vector_3() -> Draft {
    let path = format!("{NOTEBOOKS}/f9937afa-4451-42db-a76b-72d624749f66/lease");
    let mut draft = vector("PATCH", &path, "duration=3600000", "application/json", "")
        .header("x-security-token", "SECURITYTOKENEXAMPLE")
        .body(r#"{"duration": 3600000, "type": "timing"}"#);
    draft.headers.retain(|(name, _)| name != "authorization");
    let signature = "f8e9f459d46474d6b6347ea6cdcf66382a094047bbab16a5161e0e89c8e31224";
    authorize(draft, "content-type;host;x-project-id;x-sdk-date;x-security-token", signature)
}

fn vector_4() -> Draft {
    let mut draft = Draft::new("GET", "/v3/projects", "name=eu-de").header("x-sdk-date", "20260115T083000Z");
    *draft.value("host") = "iam.eu-de.example.com".into();
    let signature = "ddcd714d4cfc05e4d1ba7222b16175608b60635100f65111206188a75035fcb5";
    authorize(draft, "host;x-sdk-date", signature)
}

fn session(expires_at: i64) -> KeySession {
    let token_hash = TokenHash(Sha256::digest(b"SECURITYTOKENEXAMPLE").into());
    // The world has the key that it was earned with.
    KeySession { token_hash, expires_at: Timestamp::from_millis(expires_at), parent: KeyParent::Key(String::new()) }
}

#[tokio::test]
async fn vectors_1_and_2_prove_the_user_in_the_project() {
    let world = world(None).await;
    for draft in [vector_1(), vector_2()] {
        let identity = draft.check(&world.iam).unwrap();
        assert_eq!((&identity.user_id, identity.user_name.as_str()), (&world.admin.user_id, "admin"));
        assert_eq!(identity.scope, Scope::Project { id: PROJECT.parse().unwrap(), name: "eu-de".into() });
        assert_eq!(identity.proof, Proof::AccessKey { access: ACCESS.into() });
        assert_eq!(identity.roles, [Role::Member]);
    }
}

#[tokio::test]
async fn vector_3_needs_the_temporary_key_that_its_security_token_belongs_to() {
    let temporary = world(Some(session(VECTORS_AT + 1))).await;
    assert!(vector_3().check(&temporary.iam).is_ok());
    assert_bad_signature(vector_2().check(&temporary.iam));
    temporary.clock.advance(1);
    assert_bad_signature(vector_3().check(&temporary.iam));
    assert_bad_signature(vector_3().check(&world(None).await.iam));
    let other = KeySession { token_hash: TokenHash([0; 32]), ..session(VECTORS_AT + 1) };
    assert_bad_signature(vector_3().check(&world(Some(other)).await.iam));
}

#[tokio::test]
async fn vector_4_names_no_project_and_opens_every_one_of_the_user() {
    let world = world(None).await;
    let identity = vector_4().check(&world.iam).unwrap();
    assert_eq!(identity.scope, Scope::Domain);
    for project in [PROJECT, world.admin.project_id.as_str()] {
        assert_eq!(world.iam.caller(&identity, project).unwrap().project_id.as_str(), project);
    }
    let refusal = world.iam.caller(&identity, &"e".repeat(32)).unwrap_err();
    assert_eq!((refusal.code().http_status(), refusal.code().as_str()), (403, "ModelArts.0210"));
}

#[tokio::test]
async fn spellings_that_mean_the_same_verify() {
    let world = world(None).await;
    let mut other = vector_1();
    other.query = "sort_dir=DESC&name=my+nb%2f1&offset=0&limit=10&workspace_id=0".into();
    other.path = "/v1/%30f1e2d3c4b5a69788796a5b4c3d2e1f0/notebooks/".into();
    *other.value("content-type") = "  application/json ".into();
    assert!(other.check(&world.iam).is_ok());
}

#[tokio::test]
async fn the_signer_of_these_tests_agrees_with_the_vectors() {
    let mut unsigned = vector_2();
    unsigned.headers.retain(|(name, _)| !["authorization", "user-agent", "x-sdk-date"].contains(&name.as_str()));
    let mut signed = unsigned.signed(Timestamp::from_millis(VECTORS_AT), ACCESS, SECRET);
    assert_eq!(signed.value("authorization"), vector_2().value("authorization"));
}

/// Where a byte of a signed request can be changed.
#[derive(Clone, Copy, Debug)]
enum Part {
    Method,
    Path,
    Query,
    Header(&'static str),
    Body,
    Authorization,
}

const PARTS: &[Part] = &[
    Part::Method,
    Part::Path,
    Part::Query,
    Part::Header("host"),
    Part::Header("x-sdk-date"),
    Part::Header("x-project-id"),
    Part::Header("content-type"),
    Part::Header("x-sdk-content-sha256"),
    Part::Body,
    Part::Authorization,
];

/// The draft with one character of a part replaced by another; nothing when that changes nothing that counts.
fn tampered(mut draft: Draft, part: Part, at: usize, by: u8) -> Option<Draft> {
    let text = match part {
        Part::Method => &mut draft.method,
        Part::Path => &mut draft.path,
        Part::Query => &mut draft.query,
        Part::Header(name) => draft.value(name),
        Part::Authorization => draft.value("authorization"),
        Part::Body => {
            let at = at % draft.body.len();
            return (std::mem::replace(&mut draft.body[at], by) != by).then_some(draft);
        }
    };
    let at = at % text.len();
    let before = text.as_bytes()[at];
    // `%2F` and `%2f` are the same character, `+` and `%20` are not one byte apart.
    let same = before == by || (matches!(part, Part::Query) && before.eq_ignore_ascii_case(&by) && is_escape(text, at));
    text.replace_range(at..=at, char::from(by).encode_utf8(&mut [0; 4]));
    (!same).then_some(draft)
}

fn is_escape(text: &str, at: usize) -> bool {
    text[at.saturating_sub(2)..at].contains('%')
}

fn full_draft() -> Draft {
    let body = r#"{"duration": 3600000}"#;
    Draft::new("POST", NOTEBOOKS, "a=1&name=my%20nb%2F1")
        .header("content-type", "application/json")
        .header("x-project-id", PROJECT)
        .header("x-sdk-content-sha256", &support::hex(&Sha256::digest(body)))
        .body(body)
        .signed(Timestamp::from_millis(VECTORS_AT), ACCESS, SECRET)
}

#[test]
fn any_changed_byte_refuses() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(world(None));
    assert!(full_draft().check(&world.iam).is_ok());
    let change = (prop::sample::select(PARTS), any::<usize>(), 0x21_u8..0x7f, any::<u32>());
    let mut runner = TestRunner::new(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() });
    runner
        .run(&change, |(part, at, by, from)| {
            let Some(mut changed) = tampered(full_draft(), part, at, by) else { return Ok(()) };
            // Everybody from an address of their own, so that no lock refuses in the signature's place.
            changed.from = Ipv4Addr::from_bits(from).into();
            let answer = changed.check(&world.iam);
            prop_assert!(matches!(answer, Err(AuthRefusal::BadSignature(_))), "{part:?}: {changed:?}: {answer:?}");
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn left_out_added_and_doubled_parts_refuse() {
    let world = world(None).await;
    let with = |change: &dyn Fn(&mut Draft)| {
        let mut draft = full_draft();
        change(&mut draft);
        draft
    };
    let without = |name: &'static str| with(&move |draft| draft.headers.retain(|(header, _)| header != name));
    let twice = |name: &'static str| {
        with(&move |draft| {
            let value = draft.value(name).clone();
            draft.headers.push((name.into(), value));
        })
    };
    let drafts = [
        without("host"),
        without("x-sdk-date"),
        without("x-project-id"),
        without("x-sdk-content-sha256"),
        without("authorization"),
        twice("host"),
        twice("x-project-id"),
        twice("authorization"),
        with(&|draft| draft.body.push(b' ')),
        with(&|draft| draft.body.clear()),
        with(&|draft| draft.query.push_str("&b=2")),
        with(&|draft| draft.query.clear()),
        with(&|draft| draft.path.push_str("/x")),
        with(&|draft| draft.method = "DELETE".into()),
    ];
    for (nth, mut draft) in drafts.into_iter().enumerate() {
        draft.from = Ipv4Addr::from_bits(u32::try_from(nth).unwrap()).into();
        assert_bad_signature(draft.check(&world.iam));
    }
}

#[tokio::test]
async fn an_unsigned_body_is_accepted_only_when_the_signature_says_so() {
    let world = world(None).await;
    let at = Timestamp::from_millis(VECTORS_AT);
    let open = Draft::new("POST", NOTEBOOKS, "").header("x-sdk-content-sha256", "UNSIGNED-PAYLOAD");
    let mut signed = open.body("one").signed(at, ACCESS, SECRET);
    assert!(signed.check(&world.iam).is_ok());
    signed.body = b"another".to_vec();
    assert!(signed.check(&world.iam).is_ok(), "the signer left the body open");
    let mut closed = Draft::new("POST", NOTEBOOKS, "").body("one").signed(at, ACCESS, SECRET);
    closed.headers.push(("x-sdk-content-sha256".into(), "UNSIGNED-PAYLOAD".into()));
    assert_bad_signature(closed.check(&world.iam));
}

#[tokio::test]
async fn clocks_may_be_fifteen_minutes_apart_and_not_more() {
    let world = world(None).await;
    for (apart, accepted) in
        [(MOST_SKEW_MS, true), (MOST_SKEW_MS + 1, false), (-MOST_SKEW_MS, true), (-MOST_SKEW_MS - 1, false)]
    {
        world.clock.set(Timestamp::from_millis(VECTORS_AT + apart));
        assert_eq!(vector_1().check(&world.iam).is_ok(), accepted, "{apart}");
    }
}

#[tokio::test]
async fn unknown_inactive_and_orphaned_keys_are_refused_alike() {
    let world = world(None).await;
    let refusal = |answer: Result<_, AuthRefusal>| answer.map(|_: atelier_iam::Identity| ()).unwrap_err();
    let mut unknown = vector_1();
    *unknown.value("authorization") = unknown.value("authorization").replace(ACCESS, "AKIDNOBODY");
    let of_unknown = refusal(unknown.check(&world.iam));
    let mut wrong = vector_1();
    wrong.method = "PUT".into();
    assert_eq!(refusal(wrong.check(&world.iam)), of_unknown);
    world.enable_admin(false).await;
    assert_eq!(refusal(vector_1().check(&world.iam)), of_unknown);
    world.enable_admin(true).await;
    assert!(vector_1().check(&world.iam).is_ok());
    let inactive = AccessKey { active: false, ..key(world.admin.user_id.clone(), None) };
    world.change(vec![PeopleChange::PutAccessKey(inactive)]).await;
    assert_eq!(refusal(vector_1().check(&world.iam)), of_unknown);
    world.change(vec![PeopleChange::RemoveAccessKey(ACCESS.into())]).await;
    assert_eq!(refusal(vector_1().check(&world.iam)), of_unknown);
}

fn sign_badly(iam: &Iam, from: IpAddr, times: u32) {
    for _ in 0..times {
        let mut bad = vector_1();
        (bad.from, bad.method) = (from, "PUT".into());
        assert_bad_signature(bad.check(iam));
    }
}

#[tokio::test]
async fn five_bad_signatures_lock_the_key_for_that_address_alone() {
    let world = world(None).await;
    let draft = |from, access: &str, secret: &str| {
        let mut draft =
            Draft::new("GET", "/v3/projects", "").signed(Timestamp::from_millis(VECTORS_AT), access, secret);
        draft.from = from;
        draft
    };
    sign_badly(&world.iam, HERE, TRIES - 1);
    assert!(draft(HERE, ACCESS, SECRET).check(&world.iam).is_ok(), "four are forgiven");
    sign_badly(&world.iam, HERE, TRIES);
    assert_bad_signature(draft(HERE, ACCESS, SECRET).check(&world.iam));
    assert!(draft(THERE, ACCESS, SECRET).check(&world.iam).is_ok(), "the key's owner elsewhere");
    let other = draft(HERE, &world.admin.access_key, world.admin.secret_key.expose_secret());
    assert!(other.check(&world.iam).is_ok(), "another key from there");
    world.clock.advance(LOCKED_MS - 1);
    assert_bad_signature(draft(HERE, ACCESS, SECRET).check(&world.iam));
    world.clock.advance(1);
    assert!(draft(HERE, ACCESS, SECRET).check(&world.iam).is_ok());
}

#[tokio::test]
async fn the_project_is_the_signed_one_and_must_be_the_users() {
    let world = world(None).await;
    let at = Timestamp::from_millis(VECTORS_AT);
    let stranger = world.add_stranger(None).await;
    for foreign in [stranger.project_id.as_str(), "no-project-id", &"e".repeat(32)] {
        let draft = Draft::new("GET", NOTEBOOKS, "").header("x-project-id", foreign).signed(at, ACCESS, SECRET);
        assert_eq!(draft.check(&world.iam), Err(AuthRefusal::ForeignProject), "{foreign}");
    }
    let slipped_in = Draft::new("GET", NOTEBOOKS, "")
        .signed(at, ACCESS, SECRET)
        .header("x-project-id", world.admin.project_id.as_str());
    assert_eq!(slipped_in.check(&world.iam).unwrap().scope, Scope::Domain, "what is not signed is not read");
    let scoped = vector_1().check(&world.iam).unwrap();
    let refusal = world.iam.caller(&scoped, world.admin.project_id.as_str()).unwrap_err();
    assert_eq!(refusal.code().http_status(), 403, "a project of the user, but not the signed one");
}
