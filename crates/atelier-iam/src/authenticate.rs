//! From a request to an identity, and from an identity to a caller in a project.

use std::sync::Arc;

use atelier_core::clock::Timestamp;
use atelier_core::id::ProjectId;
use atelier_core::{Caller, Code, Refusal};
use atelier_store::people::{AccessKey, GrantTarget, Token, TokenHash};
use http::HeaderMap;

use crate::canonical::{IncomingRequest, the_one};
use crate::identity::{Identity, Proof, Scope};
use crate::people::People;
use crate::refusal::AuthRefusal;
use crate::service::{Iam, Inner};
use crate::signature::Claim;
use crate::text;
use crate::tokens::Known;

const MISMATCH: AuthRefusal =
    AuthRefusal::BadSignature("the signature does not match the request, or the access key is not valid");
const LOCKED: AuthRefusal = AuthRefusal::BadSignature(
    "too many bad signatures with this access key from this address; try again in five minutes",
);

impl Iam {
    /// Who sends this request. A valid token wins over whatever else came along; a bearer token counts as a token.
    pub async fn authenticate(&self, request: &IncomingRequest<'_>) -> Result<Arc<Identity>, AuthRefusal> {
        let refused = match text_of(request.headers, "x-auth-token") {
            Some(token) => match self.authenticate_token(token).await {
                Err(refusal @ (AuthRefusal::TokenInvalid | AuthRefusal::TokenExpired)) => Some(refusal),
                answer => return answer,
            },
            None => None,
        };
        let other = match (bearer(request.headers), request.headers.contains_key("authorization")) {
            (Some(token), _) => self.authenticate_token(token).await,
            (None, true) => self.authenticate_signature(request).map(Arc::new),
            (None, false) => Err(AuthRefusal::TokenMissing),
        };
        // What is wrong with the token says more than what is wrong with the header that came beside it.
        other.map_err(|refusal| refused.unwrap_or(refusal))
    }

    /// Who holds this token. Costs no read of the store when the token was seen before.
    pub async fn authenticate_token(&self, text: &str) -> Result<Arc<Identity>, AuthRefusal> {
        let hash = text::token_hash(text).ok_or(AuthRefusal::TokenInvalid)?;
        let people = self.inner.people()?;
        let (known, epoch) = self.inner.tokens.get(&hash);
        match known {
            Some(known) if known.version == people.version => {
                self.inner.check_life(&known.token)?;
                Ok(known.identity)
            }
            Some(known) => self.inner.appraise(epoch, &people, known.token),
            None => self.inner.look_up(epoch, &people, hash).await,
        }
    }

    /// Who signed this request. Costs no read of the store.
    pub fn authenticate_signature(&self, request: &IncomingRequest<'_>) -> Result<Identity, AuthRefusal> {
        let claim = Claim::read(*request)?;
        let now = self.inner.clock.now();
        let people = self.inner.people()?;
        if self.inner.lockout.is_locked(claim.access, request.from, now) {
            return Err(LOCKED);
        }
        claim.check_time(now)?;
        let key = self.signing_key(&people, &claim, now).inspect_err(|_| {
            self.inner.lockout.bad(claim.access, request.from, now);
        })?;
        self.inner.lockout.good(claim.access, request.from);
        if !People::security_token_fits(key, security_token(request.headers)) {
            return Err(AuthRefusal::BadSignature("`X-Security-Token` does not belong to the access key"));
        }
        signer(&people, key, &claim)
    }

    /// The key that made the signature. An unknown key takes the same path as a known one, with a secret of nobody.
    fn signing_key<'p>(
        &self,
        people: &'p People,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Result<&'p AccessKey, AuthRefusal> {
        let key = people.access_key(claim.access, now);
        let secret = key.map_or(&self.inner.nobodys_secret, |key| &key.secret);
        let matches = claim.is_signed_with(secret);
        key.filter(|_| matches).ok_or(MISMATCH)
    }

    /// The caller, acting in the project that the path names: it has to be the one that they proved themselves for.
    pub fn caller(&self, identity: &Identity, project_in_path: &str) -> Result<Caller, Refusal> {
        let id: ProjectId = project_in_path.parse().map_err(|_| {
            Refusal::new(Code::BadProjectId, "`project_id` in the path must be 32 lower-case hexadecimal digits")
        })?;
        match (&identity.scope, &identity.proof) {
            (Scope::Project { id: own, .. }, _) if *own == id => Ok(identity.caller_in(id)),
            (Scope::Domain, Proof::Token { .. }) => Err(Refusal::new(
                Code::TokenNotProjectScoped,
                "`X-Auth-Token` must be scoped to a project; request one with `scope.project`",
            )),
            (Scope::Domain, Proof::AccessKey { .. }) if self.is_project_of(identity, &id)? => {
                Ok(identity.caller_in(id))
            }
            _ => Err(Refusal::new(Code::ForeignProject, "`project_id` in the path is not the caller's project")),
        }
    }

    fn is_project_of(&self, identity: &Identity, id: &ProjectId) -> Result<bool, Refusal> {
        Ok(self.inner.people()?.project_of(&identity.user_id, id).is_some())
    }
}

impl Inner {
    async fn look_up(&self, epoch: u64, people: &People, hash: TokenHash) -> Result<Arc<Identity>, AuthRefusal> {
        let token = self.store.token(hash).await?.ok_or(AuthRefusal::TokenInvalid)?;
        self.appraise(epoch, people, Arc::new(token))
    }

    /// What a token is worth by this directory; remembered.
    fn appraise(&self, epoch: u64, people: &People, token: Arc<Token>) -> Result<Arc<Identity>, AuthRefusal> {
        self.check_life(&token)?;
        let identity = Arc::new(worth(people, &token).ok_or(AuthRefusal::TokenInvalid)?);
        self.tokens.put(epoch, Known { token, identity: Arc::clone(&identity), version: people.version });
        Ok(identity)
    }

    fn check_life(&self, token: &Token) -> Result<(), AuthRefusal> {
        if self.clock.now() < token.expires_at { Ok(()) } else { Err(AuthRefusal::TokenExpired) }
    }
}

/// What a token is worth by this directory; nothing when its owner is not welcome (any more).
pub(crate) fn worth(people: &People, token: &Token) -> Option<Identity> {
    let proof = Proof::Token {
        hash: token.hash,
        methods: token.methods.clone(),
        issued_at: token.issued_at,
        expires_at: token.expires_at,
    };
    people.identity(&token.user_id, &token.scope, proof)
}

/// The project that the signature vouches for; without one, the key counts in every project of its user.
fn signer(people: &People, key: &AccessKey, claim: &Claim<'_>) -> Result<Identity, AuthRefusal> {
    let user = people.user(&key.user_id).ok_or(MISMATCH)?;
    let target = match claim.signed_header("x-project-id") {
        None | Some(b"") => GrantTarget::Domain(user.domain_id.clone()),
        Some(id) => GrantTarget::Project(project_id(id).ok_or(AuthRefusal::ForeignProject)?),
    };
    let proof = Proof::AccessKey { access: key.access.clone() };
    people.identity(&user.id, &target, proof).ok_or(AuthRefusal::ForeignProject)
}

fn project_id(value: &[u8]) -> Option<ProjectId> {
    str::from_utf8(value).ok()?.parse().ok()
}

fn security_token(headers: &HeaderMap) -> Option<TokenHash> {
    the_one(headers, "x-security-token").map(|token| TokenHash(text::sha256(token)))
}

/// A header that says something.
fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?").trim()).filter(|text| !text.is_empty())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text_of(headers, "authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
