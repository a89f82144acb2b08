//! The catalogue of refusals.
//!
//! Every way in which Atelier says no has one [`Code`] here, with its HTTP status and its documented text code. A
//! [`Refusal`] joins a code to a sentence that names the field and what would be accepted. Interfaces only choose the
//! shape of the body; they never invent a code.

use std::fmt;

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident = $http:literal $text:literal)*) => {
        /// One documented reason to refuse.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The HTTP status that goes with it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// The text code that clients read, for example `ModelArts.6404`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

catalogue! {
    /// Something broke on our side; the cause is in the log.
    Internal = 500 "ModelArts.0010"
    /// The workspace does not exist.
    UnknownWorkspace = 400 "ModelArts.0102"
    /// A query parameter is wrong.
    BadQuery = 400 "ModelArts.0104"
    /// The caller may not do this.
    NotPermitted = 403 "ModelArts.0112"
    /// The caller's quota is used up.
    QuotaExhausted = 400 "ModelArts.0113"
    /// Something else than notebooks is used up.
    QuotaExceeded = 400 "ModelArts.0118"
    /// No token was sent.
    TokenMissing = 401 "ModelArts.0201"
    /// The token has expired.
    TokenExpired = 401 "ModelArts.0202"
    /// The token is not one of ours, or was revoked.
    TokenInvalid = 401 "ModelArts.0203"
    /// The token is not the notebook's, or is one of an earlier start.
    NotebookTokenInvalid = 403 "ModelArts.0203"
    /// The project id in the URL is not one.
    BadProjectId = 400 "ModelArts.0210"
    /// The project in the URL is not the caller's.
    ForeignProject = 403 "ModelArts.0210"
    /// The token is not scoped to a project.
    TokenNotProjectScoped = 401 "ModelArts.0212"
    /// The name is taken.
    NameTaken = 400 "ModelArts.6301"
    /// The list cannot be sorted by this.
    BadSortKey = 400 "ModelArts.6303"
    /// Legacy: only what was stopped can be deleted.
    DeleteOfRunning = 400 "ModelArts.6304"
    /// Legacy: the instance runs already.
    StartOfRunning = 400 "ModelArts.6305"
    /// Legacy: the instance is starting.
    WhileStarting = 400 "ModelArts.6306"
    /// Legacy: the instance is stopped already.
    StopOfStopped = 400 "ModelArts.6307"
    /// Legacy: the instance is being stopped.
    WhileStopping = 400 "ModelArts.6308"
    /// Legacy: the instance does not exist.
    NoInstance = 404 "ModelArts.6309"
    /// Legacy: no storage was named.
    StorageMissing = 400 "ModelArts.6316"
    /// Legacy: no path in object storage was named.
    StoragePathMissing = 400 "ModelArts.6317"
    /// Legacy: a path in object storage that does not end in a slash.
    StoragePathWithoutSlash = 400 "ModelArts.6318"
    /// The flavor does not exist.
    UnknownFlavor = 400 "ModelArts.6323"
    /// The notebook must be RUNNING for this.
    NotRunning = 400 "ModelArts.6327"
    /// The volume's size is out of range.
    VolumeSizeOutOfRange = 400 "ModelArts.6331"
    /// A field has the wrong JSON type.
    WrongType = 400 "ModelArts.6332"
    /// A name or description has a forbidden character.
    ForbiddenCharacter = 400 "ModelArts.6334"
    /// A required field is missing.
    FieldMissing = 400 "ModelArts.6335"
    /// A field's value is wrong.
    BadValue = 400 "ModelArts.6336"
    /// The notebook does not serve now: it is starting, stopped or failed.
    NotServing = 503 "ModelArts.6327"
    /// The field may not change in the notebook's status.
    FieldLocked = 400 "ModelArts.6347"
    /// Legacy: the automatic stop was switched on without saying how long.
    AutoStopWithoutDuration = 400 "ModelArts.6348"
    /// A lease's duration is out of range.
    LeaseOutOfRange = 400 "ModelArts.6349"
    /// Another operation runs, or the notebook already is where it should go.
    Conflict = 400 "ModelArts.6357"
    /// Legacy: the root of a bucket, where a folder in it is needed.
    BucketRoot = 400 "ModelArts.6358"
    /// Not enough capacity to start.
    NoCapacity = 400 "ModelArts.6360"
    /// The service itself failed; legacy answers name it as the reason of a failure, and nothing is refused with it.
    InternalFault = 400 "ModelArts.6361"
    /// The body is not JSON or not an object.
    BadBody = 400 "ModelArts.6400"
    /// The notebook, image or mount does not exist.
    NotFound = 404 "ModelArts.6404"
    /// The disk has no room for another volume.
    StorageSoldOut = 400 "ModelArts.6528"
    /// The contract knows it, this server does not offer it.
    Unsupported = 400 "ModelArts.6651"
    /// The flavor is sold out.
    FlavorSoldOut = 400 "ModelArts.6716"
    /// The notebook cannot be switched to the flavor.
    FlavorNotSwitchable = 400 "ModelArts.6792"
    /// The image of a notebook request does not exist or is not visible.
    UnknownImage = 400 "ModelArts.6797"
    /// The flavor does not support the feature.
    FlavorDoesNotSupportFeature = 400 "ModelArts.6870"
    /// No such path or method.
    NoSuchApi = 404 "APIG.0101"
    /// The request itself is malformed.
    BadRequest = 400 "APIG.0201"
    /// The body is larger than accepted.
    TooLarge = 413 "APIG.0201"
    /// The request's Host is none of this server's names.
    Misdirected = 421 "APIG.0201"
    /// The signature does not verify.
    BadSignature = 401 "APIG.0301"
    /// The caller sends too many requests.
    Throttled = 429 "APIG.0308"
    /// The notebook's server does not answer.
    BadGateway = 502 "APIG.0203"
    /// The server is shutting down or not yet ready.
    Unavailable = 503 "APIG.0203"
}

/// A refusal: a code and a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    message: String,
}

impl Refusal {
    /// A refusal with this code and sentence. The sentence is lower case, without a full stop, and never holds a
    /// secret or an internal cause.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The required field `field` is missing.
    pub fn missing(field: &str) -> Self {
        Self::new(Code::FieldMissing, format!("`{field}` is required"))
    }

    /// The field `field` must have the JSON type `wanted`.
    pub fn wrong_type(field: &str, wanted: &str) -> Self {
        Self::new(Code::WrongType, format!("`{field}` must be {wanted}"))
    }

    /// The field `field` must be `wanted`.
    pub fn bad_value(field: &str, wanted: &str) -> Self {
        Self::new(Code::BadValue, format!("`{field}` must be {wanted}"))
    }

    /// The query parameter `name` must be `wanted`.
    pub fn bad_query(name: &str, wanted: &str) -> Self {
        Self::new(Code::BadQuery, format!("query parameter `{name}` must be {wanted}"))
    }

    /// This server does not offer `what`.
    pub fn unsupported(what: &str) -> Self {
        Self::new(Code::Unsupported, format!("{what} is not supported by this server"))
    }

    /// The notebook does not exist, or is not the caller's: the answer is the same.
    pub fn no_notebook(id: &str) -> Self {
        Self::new(Code::NotFound, format!("notebook `{id}` does not exist"))
    }

    /// Something broke on our side.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "internal error")
    }

    /// Its code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Its sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.as_str())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_codes_have_the_documented_form() {
        for code in Code::ALL {
            let number = code
                .as_str()
                .strip_prefix("ModelArts.")
                .or_else(|| code.as_str().strip_prefix("APIG."))
                .unwrap_or_default();
            assert!(number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()), "{code:?}");
            assert!((400..=503).contains(&code.http_status()), "{code:?}");
        }
    }
}
