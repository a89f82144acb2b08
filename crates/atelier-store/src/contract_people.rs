//! The tests that every engine has to pass, for what is kept about people.
//!
//! Each function takes an empty store and panics where the contract is broken. An engine runs [`all`] with a way to
//! make empty stores.

#![expect(clippy::panic, clippy::expect_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::future::Future;

use atelier_core::clock::Timestamp;
use atelier_core::id::{DomainId, ProjectId, UserId};
use secrecy::{ExposeSecret as _, SecretString};

use crate::StoreError;
use crate::key_pairs::{KeyPairOwner, KeyPairWritten, NewKeyPair};
use crate::people::{
    AccessKey, Directory, Domain, Grant, GrantTarget, KeyParent, KeySession, Method, PeopleChange, PeopleStore,
    PeopleWritten, Project, Role, Token, TokenHash, User,
};

/// Runs every test, each on a store of its own.
pub async fn all<S, F>(mut empty: impl FnMut() -> F)
where
    S: PeopleStore,
    F: Future<Output = S>,
{
    what_is_written_reads_back(&empty().await).await;
    putting_again_overwrites(&empty().await).await;
    names_are_taken_once(&empty().await).await;
    nothing_refers_to_what_does_not_exist(&empty().await).await;
    a_conflict_writes_nothing(&empty().await).await;
    the_first_change_is_made_once(&empty().await).await;
    giving_and_taking_twice_changes_nothing(&empty().await).await;
    tokens_read_back_until_they_are_removed(&empty().await).await;
    tokens_of_one_user_go_together(&empty().await).await;
    only_expired_tokens_are_swept(&empty().await).await;
    a_token_needs_its_user(&empty().await).await;
    temporary_keys_go_with_what_earned_them(&empty().await).await;
    tokens_are_removed_together_with_a_change(&empty().await).await;
    key_pairs_read_back_described_and_removed(&empty().await).await;
    a_name_of_a_key_pair_is_taken_once_by_its_owner(&empty().await).await;
    key_pairs_have_a_quota_and_an_owner(&empty().await).await;
}

/// Every field of every kind comes back as it was written, each list in order.
pub async fn what_is_written_reads_back(store: &dyn PeopleStore) {
    assert!(store.directory().await.expect("reads").domains.is_empty(), "the store is empty at first");
    written(store, two_of_everything()).await;
    let directory = store.directory().await.expect("reads");
    assert_eq!(directory.domains, [domain(1), domain(2)]);
    assert_eq!(directory.projects, [project(1), project(2)]);
    assert_eq!(
        directory.users.iter().map(plain_user).collect::<Vec<_>>(),
        [plain_user(&user(1)), plain_user(&user(2))]
    );
    let keys: Vec<_> = directory.access_keys.iter().map(plain_key).collect();
    assert_eq!(keys, [plain_key(&key(1)), plain_key(&temporary_key(2))]);
    assert_eq!(directory.grants.len(), 4);
    for grant in [in_project(1, 1), in_project(2, 2), in_domain(1, 1), in_domain(2, 2)] {
        assert!(directory.grants.contains(&grant), "{grant:?}");
    }
}

/// The id decides: what has it is overwritten, in every field.
pub async fn putting_again_overwrites(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    let changed_user = User { name: "renamed".into(), password_hash: None, enabled: false, ..user(2) };
    let changed_key = AccessKey { secret: "other".into(), active: false, session: None, ..temporary_key(2) };
    let changes = vec![
        PeopleChange::PutDomain(Domain { name: "renamed".into(), ..domain(2) }),
        PeopleChange::PutProject(Project { description: "other".into(), ..project(2) }),
        PeopleChange::PutUser(changed_user.clone()),
        PeopleChange::PutAccessKey(changed_key.clone()),
        PeopleChange::RemoveAccessKey(key(1).access),
    ];
    written(store, changes).await;
    let directory = store.directory().await.expect("reads");
    assert_eq!(directory.domains[1].name, "renamed");
    assert_eq!(directory.projects[1].description, "other");
    assert_eq!(plain_user(&directory.users[1]), plain_user(&changed_user));
    assert_eq!(directory.access_keys.iter().map(plain_key).collect::<Vec<_>>(), [plain_key(&changed_key)]);
}

/// One domain of a name; one user and one project of a name in a domain, and another in another domain.
pub async fn names_are_taken_once(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    for taken in [
        PeopleChange::PutDomain(Domain { name: domain(1).name, ..domain(3) }),
        PeopleChange::PutUser(User { id: user(3).id, ..user(1) }),
        PeopleChange::PutProject(Project { id: project(3).id, ..project(1) }),
    ] {
        assert_eq!(change(store, vec![taken.clone()]).await, PeopleWritten::Conflict, "{taken:?}");
    }
    let same_name_elsewhere = User { id: user(3).id, domain_id: domain(2).id, ..user(1) };
    written(store, vec![PeopleChange::PutUser(same_name_elsewhere)]).await;
}

/// A user needs its domain, a grant its user and target, a key its user.
pub async fn nothing_refers_to_what_does_not_exist(store: &dyn PeopleStore) {
    written(store, vec![PeopleChange::PutDomain(domain(1)), PeopleChange::PutUser(user(1))]).await;
    for dangling in [
        PeopleChange::PutUser(user(2)),
        PeopleChange::PutProject(project(2)),
        PeopleChange::Give(in_project(1, 1)),
        PeopleChange::Give(in_domain(2, 1)),
        PeopleChange::PutAccessKey(key(2)),
    ] {
        assert_eq!(change(store, vec![dangling.clone()]).await, PeopleWritten::Conflict, "{dangling:?}");
    }
}

/// Changes are made together or not at all.
pub async fn a_conflict_writes_nothing(store: &dyn PeopleStore) {
    written(store, vec![PeopleChange::PutDomain(domain(1))]).await;
    let changes = vec![
        PeopleChange::PutUser(user(1)),
        PeopleChange::PutProject(project(1)),
        PeopleChange::PutDomain(Domain { name: domain(1).name, ..domain(2) }),
    ];
    assert_eq!(change(store, changes).await, PeopleWritten::Conflict);
    let directory = store.directory().await.expect("reads");
    assert_eq!(counts(&directory), (1, 0, 0));
    written(store, vec![PeopleChange::PutUser(user(1))]).await;
}

/// Two servers that start on one empty store make one first administrator.
pub async fn the_first_change_is_made_once(store: &dyn PeopleStore) {
    let first = vec![PeopleChange::PutDomain(domain(1))];
    let second = vec![PeopleChange::PutDomain(domain(2))];
    assert_eq!(store.change_people(first, true).await.expect("answers"), PeopleWritten::Written);
    assert_eq!(store.change_people(second, true).await.expect("answers"), PeopleWritten::NotEmpty);
    assert_eq!(store.directory().await.expect("reads").domains, [domain(1)]);
}

/// Giving and taking a role say how it shall be, not what shall change.
pub async fn giving_and_taking_twice_changes_nothing(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    for grant in [in_project(1, 2), in_domain(1, 2)] {
        written(store, vec![PeopleChange::Give(grant.clone()), PeopleChange::Give(grant.clone())]).await;
        assert_eq!(store.directory().await.expect("reads").grants.iter().filter(|kept| **kept == grant).count(), 1);
        written(store, vec![PeopleChange::Take(grant.clone()), PeopleChange::Take(grant.clone())]).await;
        let grants = store.directory().await.expect("reads").grants;
        assert!(!grants.contains(&grant) && grants.len() == 4, "{grant:?}");
    }
    written(store, vec![PeopleChange::RemoveAccessKey("nobody's".into())]).await;
}

/// A token comes back as it was written, also when it has expired, until it is removed.
pub async fn tokens_read_back_until_they_are_removed(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    let in_project = token(1, 1, 1_000);
    let in_domain =
        Token { scope: GrantTarget::Domain(domain(2).id), methods: vec![Method::Password], ..token(2, 2, 2_000) };
    for token in [&in_project, &in_domain] {
        assert_eq!(store.token(token.hash).await.expect("reads"), None);
        store.put_token(token).await.expect("writes");
        assert_eq!(store.token(token.hash).await.expect("reads").as_ref(), Some(token));
    }
    assert!(store.remove_token(in_project.hash).await.expect("writes"));
    assert!(!store.remove_token(in_project.hash).await.expect("writes"));
    assert_eq!(store.token(in_project.hash).await.expect("reads"), None);
    assert_eq!(store.token(in_domain.hash).await.expect("reads"), Some(in_domain));
}

/// All of a user's tokens, and nobody else's.
pub async fn tokens_of_one_user_go_together(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    for token in [token(1, 1, 1_000), token(2, 1, 1_000), token(3, 2, 1_000)] {
        store.put_token(&token).await.expect("writes");
    }
    assert_eq!(store.remove_tokens_of(&user(1).id).await.expect("writes"), 2);
    assert_eq!(store.token(token(2, 1, 1_000).hash).await.expect("reads"), None);
    assert!(store.token(token(3, 2, 1_000).hash).await.expect("reads").is_some());
    assert_eq!(store.remove_tokens_of(&user(1).id).await.expect("writes"), 0);
}

/// The moment of expiry itself is expired.
pub async fn only_expired_tokens_are_swept(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    for token in [token(1, 1, 999), token(2, 1, 1_000), token(3, 1, 1_001)] {
        store.put_token(&token).await.expect("writes");
    }
    assert_eq!(store.remove_tokens_expired_by(Timestamp::from_millis(1_000)).await.expect("writes"), 2);
    assert!(store.token(token(3, 1, 1_001).hash).await.expect("reads").is_some());
}

/// A token of nobody is not kept.
pub async fn a_token_needs_its_user(store: &dyn PeopleStore) {
    let refused = store.put_token(&token(1, 1, 1_000)).await;
    assert!(matches!(refused, Err(StoreError::Engine(_))), "{refused:?}");
    assert_eq!(store.token(token(1, 1, 1_000).hash).await.expect("reads"), None);
}

/// A pair comes back to the letter, in the order of names; describing it changes nothing else.
pub async fn key_pairs_read_back_described_and_removed(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    for name in ["b", "a", "B"] {
        let kept = store.add_key_pair(pair(1, 1, name), 9).await.expect("writes");
        let KeyPairWritten::Written(kept) = kept else { panic!("{kept:?}") };
        assert_eq!(store.key_pair(&owner(1, 1), name).await.expect("reads").as_ref(), Some(&*kept));
        assert_eq!((kept.public_key, kept.description), (pair(1, 1, name).public_key, String::new()));
    }
    let listed = store.key_pairs(&owner(1, 1)).await.expect("reads");
    assert_eq!(listed.iter().map(|pair| pair.name.as_str()).collect::<Vec<_>>(), ["B", "a", "b"]);
    let later = Timestamp::from_millis(9_000);
    assert!(store.describe_key_pair(&owner(1, 1), "a", "a laptop", later).await.expect("writes"));
    assert!(!store.describe_key_pair(&owner(1, 1), "A", "nobody's", later).await.expect("writes"));
    let described = store.key_pair(&owner(1, 1), "a").await.expect("reads").expect("is there");
    assert_eq!((described.description.as_str(), described.updated_at), ("a laptop", later));
    assert_eq!((&described.public_key, described.created_at), (&listed[1].public_key, listed[1].created_at));
    assert!(store.remove_key_pair(&owner(1, 1), "a").await.expect("writes"));
    assert!(!store.remove_key_pair(&owner(1, 1), "a").await.expect("writes"));
    assert_eq!(store.key_pair(&owner(1, 1), "a").await.expect("reads"), None);
    assert_eq!(store.key_pairs(&owner(1, 1)).await.expect("reads").len(), 2);
}

/// Somebody else, and the same user in another project, may use the name and see nothing of the pair.
pub async fn a_name_of_a_key_pair_is_taken_once_by_its_owner(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    for (project, user) in [(1, 1), (1, 2), (2, 1)] {
        assert_eq!(store.key_pair(&owner(project, user), "a").await.expect("reads"), None);
        let kept = store.add_key_pair(pair(project, user, "a"), 9).await.expect("writes");
        assert!(matches!(kept, KeyPairWritten::Written(_)), "{kept:?}");
        let again = store.add_key_pair(pair(project, user, "a"), 9).await.expect("answers");
        assert_eq!(again, KeyPairWritten::NameTaken);
    }
    assert!(store.remove_key_pair(&owner(1, 1), "a").await.expect("writes"));
    assert!(store.key_pair(&owner(1, 2), "a").await.expect("reads").is_some());
}

/// A taken name is said before a quota, and nobody's pair is not kept.
pub async fn key_pairs_have_a_quota_and_an_owner(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    let add = async |project, user, name| store.add_key_pair(pair(project, user, name), 2).await.expect("answers");
    assert!(matches!(add(1, 1, "a").await, KeyPairWritten::Written(_)));
    assert!(matches!(add(1, 1, "b").await, KeyPairWritten::Written(_)));
    assert_eq!(add(1, 1, "c").await, KeyPairWritten::QuotaExhausted);
    assert_eq!(add(1, 1, "a").await, KeyPairWritten::NameTaken);
    assert!(matches!(add(2, 1, "c").await, KeyPairWritten::Written(_)));
    assert_eq!(add(1, 3, "c").await, KeyPairWritten::NobodyThere);
    assert_eq!(add(3, 1, "c").await, KeyPairWritten::NobodyThere);
}

/// A temporary key needs its parent and does not outlive it, whichever way that is removed.
pub async fn temporary_keys_go_with_what_earned_them(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    let by_token = |n: u8| {
        let parent = KeyParent::Token(token(n, 1, 1_000).hash);
        PeopleChange::PutAccessKey(AccessKey { access: format!("T{n}"), ..temporary(1, parent) })
    };
    let kept = async || {
        let keys = store.directory().await.expect("reads").access_keys;
        keys.into_iter().map(|key| key.access).collect::<Vec<_>>()
    };
    assert_eq!(change(store, vec![by_token(1)]).await, PeopleWritten::Conflict, "no such token");
    for n in 1..=4 {
        store.put_token(&token(n, 1, i64::from(n) * 1_000)).await.expect("writes");
        written(store, vec![by_token(n)]).await;
    }
    let directory = store.directory().await.expect("reads");
    let parents: Vec<_> = directory.access_keys.iter().filter_map(|key| Some(key.session.clone()?.parent)).collect();
    assert_eq!(parents.len(), 5);
    assert!(parents.contains(&KeyParent::Key("AK1".into())) && parents.contains(&KeyParent::Token(TokenHash([4; 32]))));
    store.remove_tokens_expired_by(Timestamp::from_millis(1_000)).await.expect("writes");
    assert_eq!(kept().await, ["AK1", "AK2", "T2", "T3", "T4"]);
    store.remove_token(TokenHash([2; 32])).await.expect("writes");
    assert_eq!(kept().await, ["AK1", "AK2", "T3", "T4"]);
    store.remove_tokens_of(&user(1).id).await.expect("writes");
    assert_eq!(kept().await, ["AK1", "AK2"]);
    written(store, vec![PeopleChange::RemoveAccessKey("AK1".into())]).await;
    assert!(kept().await.is_empty(), "AK2 was earned with AK1");
}

/// Tokens can be removed in one transaction with what made them worthless.
pub async fn tokens_are_removed_together_with_a_change(store: &dyn PeopleStore) {
    written(store, two_of_everything()).await;
    store.put_token(&token(1, 1, 1_000)).await.expect("writes");
    store.put_token(&token(2, 2, 1_000)).await.expect("writes");
    let revoked = || PeopleChange::RemoveTokensOf(user(1).id);
    let taken = PeopleChange::PutDomain(Domain { id: domain(3).id, ..domain(1) });
    assert_eq!(change(store, vec![revoked(), taken]).await, PeopleWritten::Conflict);
    assert!(store.token(TokenHash([1; 32])).await.expect("reads").is_some(), "all or nothing");
    let off = User { enabled: false, ..user(1) };
    written(store, vec![PeopleChange::PutUser(off), revoked()]).await;
    assert_eq!(store.token(TokenHash([1; 32])).await.expect("reads"), None);
    assert!(store.token(TokenHash([2; 32])).await.expect("reads").is_some(), "another user's");
}

async fn change(store: &dyn PeopleStore, changes: Vec<PeopleChange>) -> PeopleWritten {
    store.change_people(changes, false).await.expect("the store answers")
}

async fn written(store: &dyn PeopleStore, changes: Vec<PeopleChange>) {
    assert_eq!(change(store, changes).await, PeopleWritten::Written);
}

fn counts(directory: &Directory) -> (usize, usize, usize) {
    (directory.domains.len(), directory.users.len(), directory.projects.len())
}

/// Later ids first, so that order has to be made.
fn two_of_everything() -> Vec<PeopleChange> {
    vec![
        PeopleChange::PutDomain(domain(2)),
        PeopleChange::PutDomain(domain(1)),
        PeopleChange::PutUser(user(2)),
        PeopleChange::PutUser(user(1)),
        PeopleChange::PutProject(project(2)),
        PeopleChange::PutProject(project(1)),
        PeopleChange::Give(in_project(2, 2)),
        PeopleChange::Give(in_project(1, 1)),
        PeopleChange::Give(in_domain(1, 1)),
        PeopleChange::Give(in_domain(2, 2)),
        PeopleChange::PutAccessKey(key(1)),
        PeopleChange::PutAccessKey(temporary_key(2)),
    ]
}

fn id<T: std::str::FromStr>(n: u8) -> T {
    let id = format!("{n:032x}").parse();
    id.unwrap_or_else(|_| panic!("{n} makes an id"))
}

fn domain(n: u8) -> Domain {
    Domain { id: id::<DomainId>(n), name: format!("domain {n}"), description: format!("the domain {n}, ümläut") }
}

fn user(n: u8) -> User {
    User {
        id: id::<UserId>(n),
        domain_id: id(n),
        name: format!("user {n}"),
        password_hash: Some(format!("$argon2id$hash of {n}").into()),
        enabled: true,
        created_at: Timestamp::from_millis(1_000 + i64::from(n)),
    }
}

fn project(n: u8) -> Project {
    Project {
        id: id::<ProjectId>(n),
        domain_id: id(n),
        name: format!("project {n}"),
        description: format!("the project {n}"),
    }
}

fn in_project(user: u8, project: u8) -> Grant {
    Grant { user_id: id(user), target: GrantTarget::Project(id(project)), role: Role::Member }
}

fn in_domain(user: u8, domain: u8) -> Grant {
    Grant { user_id: id(user), target: GrantTarget::Domain(id(domain)), role: Role::Admin }
}

fn owner(project: u8, user: u8) -> KeyPairOwner {
    KeyPairOwner { project_id: id(project), user_id: id(user) }
}

fn pair(project: u8, user: u8, name: &str) -> NewKeyPair {
    let public_key = format!("ssh-ed25519 AAAA{project}{user} a comment\n");
    let created_at = Timestamp::from_millis(4_000 + i64::from(user));
    NewKeyPair { owner: owner(project, user), name: name.to_owned(), public_key, created_at }
}

fn key(n: u8) -> AccessKey {
    AccessKey {
        access: format!("AK{n}"),
        secret: format!("secret of {n}").into(),
        user_id: id(n),
        active: true,
        description: format!("the key {n}"),
        created_at: Timestamp::from_millis(2_000 + i64::from(n)),
        session: None,
    }
}

/// One that was earned with the first key.
fn temporary_key(n: u8) -> AccessKey {
    temporary(n, KeyParent::Key(key(1).access))
}

fn temporary(n: u8, parent: KeyParent) -> AccessKey {
    let session = KeySession { token_hash: TokenHash([n; 32]), expires_at: Timestamp::from_millis(3_000), parent };
    AccessKey { session: Some(session), ..key(n) }
}

fn token(n: u8, user: u8, expires_at: i64) -> Token {
    Token {
        hash: TokenHash([n; 32]),
        user_id: id(user),
        scope: GrantTarget::Project(id(user)),
        methods: vec![Method::Password, Method::Token],
        issued_at: Timestamp::from_millis(500),
        expires_at: Timestamp::from_millis(expires_at),
    }
}

/// Secrets are not comparable, so that nobody compares them in a hurry; here they are.
fn plain(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}

fn plain_user(user: &User) -> impl PartialEq + std::fmt::Debug + use<> {
    let hash = user.password_hash.as_ref().map(plain);
    (user.id.clone(), user.domain_id.clone(), user.name.clone(), hash, user.enabled, user.created_at)
}

fn plain_key(key: &AccessKey) -> impl PartialEq + std::fmt::Debug + use<> {
    let texts = (key.access.clone(), plain(&key.secret), key.description.clone());
    (texts, key.user_id.clone(), key.active, key.created_at, key.session.clone())
}
