//! Which server to speak to, and with which proof.
//!
//! Asked in this order: flags and the environment, what `atelier login` remembered, and a readable admin.json. An
//! address that was given narrows the rest down: credentials of one server are never sent to another.

use std::path::Path;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::reach::{Reach, read_roots};
use crate::args::Connection;
use crate::failure::Failure;
use crate::places::Surroundings;

/// The address of a server that was configured with nothing.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8080";
/// The domain of the first administrator.
const DEFAULT_DOMAIN: &str = "atelier";
/// What `atelier login` writes, in the folder of what the command line remembers.
pub(crate) const LOGIN_FILE: &str = "login.json";
/// What the server writes at its first start, in the data folder.
pub(crate) const ADMIN_FILE: &str = "admin.json";

/// A server and a proof.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// How the server is reached.
    pub(crate) reach: Reach,
    /// What shows who we are.
    pub proof: Proof,
}

/// What shows who somebody is.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A token, and the project it counts in where that is known.
    Token(SecretString, Option<String>),
    /// A name and a password: tokens can be had whenever one is needed.
    Password(Password),
}

/// A name and a password.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "a password has a password")]
pub(crate) struct Password {
    /// The user's name.
    pub user_name: String,
    /// The name of the user's domain.
    pub domain_name: String,
    /// The password.
    pub password: SecretString,
    /// The project to act in; the only one when it is not named.
    pub project_name: Option<String>,
}

/// What `atelier login` remembers. Not the password: only what it was good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The server.
    pub endpoint: String,
    /// The user's name.
    pub user_name: String,
    /// The name of the user's domain.
    pub domain_name: String,
    /// The project that was asked for.
    pub project_name: Option<String>,
    /// The project's id.
    pub project_id: String,
    /// The token.
    pub token: String,
    /// When it expires, in milliseconds since 1970 UTC.
    pub expires_at: i64,
    /// The roots that were trusted besides the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_certificate: Option<String>,
}

/// What admin.json holds, as far as the command line needs it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Administrator {
    endpoint: String,
    domain_name: String,
    user_name: String,
    password: SecretString,
    project_name: String,
    ca_certificate: Option<String>,
}

/// Everything that a choice depends on.
#[derive(Debug, Default)]
pub(crate) struct Clues {
    /// Flags and the environment.
    pub connection: Connection,
    /// What `--ca-file` or `ATELIER_CA_FILE` holds.
    pub(crate) roots: Option<String>,
    /// `ATELIER_PASSWORD`.
    pub password: Option<SecretString>,
    /// The last `atelier login`.
    pub remembered: Option<Remembered>,
    /// admin.json of the data folder that was named, or of the usual one.
    pub administrator: Option<Administrator>,
}

impl Clues {
    /// What can be found on this machine.
    pub(crate) fn gather(connection: &Connection, surroundings: &Surroundings) -> Result<Self, Failure> {
        let usual =
            || surroundings.variable("ATELIER_SERVER__DATA_DIR").map_or_else(|| surroundings.data_dir(), Into::into);
        let data_dir = connection.data_dir.clone().unwrap_or_else(usual);
        let administrator = match read_json(&data_dir.join(ADMIN_FILE)) {
            Ok(found) => found,
            // A file that nobody named and that is not for us is no reason to fail.
            Err(_) if connection.data_dir.is_none() => None,
            Err(failure) => return Err(failure),
        };
        let ca_file = connection.ca_file.clone().or_else(|| surroundings.variable("ATELIER_CA_FILE").map(Into::into));
        Ok(Self {
            connection: connection.clone(),
            roots: ca_file.as_deref().map(read_roots).transpose()?,
            password: surroundings.variable("ATELIER_PASSWORD").map(SecretString::from),
            remembered: read_json(&surroundings.config_dir().join(LOGIN_FILE))?,
            administrator,
        })
    }

    /// The server to speak to, when it does not matter who we are.
    pub(crate) fn reach(&self) -> Reach {
        self.reach_of(&self.endpoint())
    }

    /// The way to this server. What was once trusted for one server is not trusted for another.
    fn reach_of(&self, endpoint: &str) -> Reach {
        let reach = Reach::to(endpoint).trusting(self.roots.as_deref());
        let known = |of: &str, roots: &Option<String>| {
            roots.clone().filter(|_| of.trim_end_matches('/') == endpoint.trim_end_matches('/'))
        };
        let login = self.remembered.as_ref().and_then(|login| known(&login.endpoint, &login.ca_certificate));
        let admin = self.administrator.as_ref().and_then(|admin| known(&admin.endpoint, &admin.ca_certificate));
        reach.trusting(login.as_deref()).trusting(admin.as_deref())
    }

    fn endpoint(&self) -> String {
        let known = self.remembered.as_ref().map(|login| &login.endpoint);
        let known = known.or(self.administrator.as_ref().map(|admin| &admin.endpoint));
        let endpoint = self.connection.endpoint.as_ref().or(known).map_or(DEFAULT_ENDPOINT, String::as_str);
        endpoint.trim_end_matches('/').to_owned()
    }

    /// The name of the domain, when one has to be assumed.
    pub(crate) fn domain(&self) -> String {
        self.connection.domain.clone().unwrap_or_else(|| DEFAULT_DOMAIN.into())
    }

    /// Chooses the server and the proof.
    pub(crate) fn choose(&self) -> Result<Target, Failure> {
        let target = |endpoint: String, proof| Ok(Target { reach: self.reach_of(&endpoint), proof });
        if let Some(token) = &self.connection.token {
            return target(self.endpoint(), Proof::Token(token.clone().into(), None));
        }
        if let Some(password) = self.named_password()? {
            return target(self.endpoint(), Proof::Password(password));
        }
        let fits = |endpoint: &str| {
            let wanted = self.connection.endpoint.as_deref();
            wanted.is_none_or(|wanted| wanted.trim_end_matches('/') == endpoint.trim_end_matches('/'))
        };
        let folder_was_named = self.connection.data_dir.is_some();
        if let Some(login) = self.remembered.as_ref().filter(|login| !folder_was_named && fits(&login.endpoint)) {
            let proof = Proof::Token(login.token.clone().into(), Some(login.project_id.clone()));
            return target(login.endpoint.clone(), proof);
        }
        match self.administrator.as_ref().filter(|admin| fits(&admin.endpoint)) {
            Some(admin) => target(admin.endpoint.clone(), Proof::Password(self.of_administrator(admin))),
            None => Err(self.nothing_found()),
        }
    }

    fn named_password(&self) -> Result<Option<Password>, Failure> {
        let Some(user_name) = self.connection.user.clone() else { return Ok(None) };
        let Some(password) = self.password.clone() else {
            let message = format!("no password for the user `{user_name}`");
            return Err(Failure::new(message).hint("set ATELIER_PASSWORD, or run `atelier login`"));
        };
        let project_name = self.connection.project.clone();
        Ok(Some(Password { user_name, domain_name: self.domain(), password, project_name }))
    }

    fn of_administrator(&self, admin: &Administrator) -> Password {
        Password {
            user_name: admin.user_name.clone(),
            domain_name: admin.domain_name.clone(),
            password: admin.password.clone(),
            project_name: Some(self.connection.project.clone().unwrap_or_else(|| admin.project_name.clone())),
        }
    }

    fn nothing_found(&self) -> Failure {
        let failure = match &self.connection.endpoint {
            Some(endpoint) => Failure::new(format!("no credentials for {endpoint}")),
            None => Failure::new("no server is known"),
        };
        failure
            .hint("`atelier up` starts one on this machine; `atelier login` remembers one elsewhere")
            .hint("or name it by ATELIER_ENDPOINT and ATELIER_TOKEN")
    }
}

/// Reads a JSON file; `None` when it is not there.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Failure::new(format!("{} is damaged: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::new(format!("{} cannot be read: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn remembered() -> Remembered {
        Remembered {
            endpoint: "https://far.example".into(),
            user_name: "u".into(),
            domain_name: "d".into(),
            project_name: None,
            project_id: "p".into(),
            token: "remembered-token".into(),
            expires_at: 0,
            ca_certificate: Some("of-far".into()),
        }
    }

    fn clues() -> Clues {
        let admin = serde_json::json!({
            "endpoint": "http://127.0.0.1:9999", "domain_name": "atelier", "user_name": "admin",
            "password": "admin-password", "project_name": "local", "access_key": "more",
        });
        Clues {
            remembered: Some(remembered()),
            administrator: Some(serde_json::from_value(admin).unwrap()),
            ..Clues::default()
        }
    }

    fn chosen(clues: &Clues) -> (String, String) {
        let target = clues.choose().unwrap();
        let secret = match target.proof {
            Proof::Token(token, _) => token.expose_secret().to_owned(),
            Proof::Password(password) => password.password.expose_secret().to_owned(),
        };
        (target.reach.url, secret)
    }

    #[test]
    fn flags_come_first_then_the_login_then_the_administrator() {
        let mut clues = clues();
        assert_eq!(chosen(&clues), ("https://far.example".into(), "remembered-token".into()));
        clues.connection.user = Some("me".into());
        clues.password = Some("my-password".into());
        assert_eq!(chosen(&clues), ("https://far.example".into(), "my-password".into()));
        clues.connection.token = Some("my-token".into());
        assert_eq!(chosen(&clues), ("https://far.example".into(), "my-token".into()));
        let clues = Clues { remembered: None, ..super::tests::clues() };
        assert_eq!(chosen(&clues), ("http://127.0.0.1:9999".into(), "admin-password".into()));
    }

    #[test]
    fn credentials_of_one_server_are_never_sent_to_another() {
        let mut clues = clues();
        clues.connection.endpoint = Some("http://127.0.0.1:9999/".into());
        assert_eq!(chosen(&clues), ("http://127.0.0.1:9999".into(), "admin-password".into()));
        clues.connection.endpoint = Some("http://other.example".into());
        let told = clues.choose().unwrap_err().to_string();
        assert!(told.starts_with("no credentials for http://other.example\nhint: "), "{told}");
    }

    #[test]
    fn a_root_is_trusted_for_its_own_server_only() {
        let mut clues = clues();
        let trusted = |clues: &Clues| clues.reach().ca_certificate.unwrap_or_default();
        assert_eq!(trusted(&clues), "of-far\n");
        clues.connection.endpoint = Some("https://other.example".into());
        assert_eq!(trusted(&clues), "");
        clues.roots = Some("named".into());
        assert_eq!(trusted(&clues), "named\n");
        clues.connection.endpoint = Some("https://far.example/".into());
        assert_eq!(trusted(&clues), "named\nof-far\n");
    }

    #[test]
    fn a_data_folder_that_was_named_beats_the_login() {
        let mut clues = clues();
        clues.connection.data_dir = Some("/d".into());
        assert_eq!(chosen(&clues).1, "admin-password");
    }

    #[test]
    fn a_user_without_a_password_is_told_where_to_put_it() {
        let mut clues = clues();
        clues.connection.user = Some("me".into());
        assert!(clues.choose().unwrap_err().to_string().contains("ATELIER_PASSWORD"));
    }

    #[test]
    fn secrets_do_not_show_when_debugged() {
        let target = clues();
        assert!(!format!("{:?}", Clues { remembered: None, ..target }).contains("admin-password"));
    }
}
