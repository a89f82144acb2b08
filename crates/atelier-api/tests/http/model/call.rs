//! Calls: what is wrong with one by itself, and how it is sent.

use serde_json::{Value, json};

use crate::answers::wish;

/// Leases of the present API are in milliseconds, those of the legacy API in seconds.
pub(crate) const HOUR_MS: i64 = 3_600_000;
const LONGEST_MS: i64 = 259_200_000;
const LONGEST_OF_LEGACY_S: i64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    V1,
    Legacy,
}

/// What is said of an automatic stop: in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AutoStop {
    Unsaid,
    Off,
    After(i64),
}

/// A call, about one notebook where it is about one.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create {
        name: String,
        description: String,
        duration: Option<i64>,
        tags: Vec<(String, String)>,
    },
    /// Of the legacy API, like all that speaks of instances.
    CreateInstance {
        name: String,
        auto_stop: AutoStop,
    },
    Show(Api),
    List {
        api: Api,
        status: Option<&'static str>,
    },
    Start {
        duration: Option<i64>,
    },
    StartInstance,
    Stop(Api),
    Delete(Api),
    Lease,
    Renew {
        duration: Option<i64>,
    },
    Update {
        name: Option<String>,
        description: Option<String>,
    },
    UpdateInstance {
        description: Option<String>,
        auto_stop: AutoStop,
    },
    Tag {
        key: String,
        value: String,
    },
    Untag {
        key: String,
    },
    InstanceToken,
}

/// What must come back: the status, the code of a refusal, and members that the body must have. A member that is null
/// must be absent.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) code: &'static str,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn done(body: Value) -> Self {
        Self { http: 200, code: "", body }
    }

    pub(crate) fn refused(code: &'static str) -> Self {
        Self { http: 400, code, body: json!({}) }
    }

    pub(crate) fn unknown(code: &'static str) -> Self {
        Self { http: 404, code, body: json!({}) }
    }
}

impl AutoStop {
    fn said(self) -> Value {
        match self {
            Self::Unsaid => Value::Null,
            Self::Off => json!({"enable": false}),
            Self::After(seconds) => json!({"enable": true, "duration": seconds}),
        }
    }
}

impl Call {
    /// Whether it is right by itself, whatever it is about. Only durations can be wrong here.
    pub(crate) fn is_right(&self) -> bool {
        let granted = |ms: i64| ms == -1 || (HOUR_MS..=LONGEST_MS).contains(&ms);
        match *self {
            Self::Create { duration, .. } | Self::Renew { duration } => duration.is_none_or(granted),
            Self::Start { duration } => duration.is_none_or(|ms| ms == 0 || granted(ms)),
            Self::CreateInstance { auto_stop: AutoStop::After(seconds), .. }
            | Self::UpdateInstance { auto_stop: AutoStop::After(seconds), .. } => {
                (3600..=LONGEST_OF_LEGACY_S).contains(&seconds)
            }
            _ => true,
        }
    }

    pub(crate) fn api(&self) -> Api {
        match *self {
            Self::Show(api) | Self::List { api, .. } | Self::Stop(api) | Self::Delete(api) => api,
            Self::CreateInstance { .. } | Self::StartInstance | Self::UpdateInstance { .. } | Self::InstanceToken => {
                Api::Legacy
            }
            _ => Api::V1,
        }
    }

    /// The request: method, path behind the project, body.
    pub(crate) fn request(&self, id: &str) -> (&'static str, String, Value) {
        let (notebook, instance) = (format!("/notebooks/{id}"), format!("/demanager/instances/DE-{id}"));
        let of = |api: &Api| if *api == Api::V1 { notebook.clone() } else { instance.clone() };
        match self {
            Self::Create { name, description, duration, tags } => {
                let tags: Vec<_> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
                let said = json!({"name": name, "description": description, "duration": duration, "tags": tags});
                ("POST", "/notebooks".to_owned(), wish(said))
            }
            Self::CreateInstance { name, auto_stop } => {
                let spec = json!({"storage": {"type": "evs"}, "auto_stop": auto_stop.said()});
                let (profile, flavor) = ("Multi-Engine 1.0 (python3)-cpu", "atelier.cpu.small");
                let body = json!({"name": name, "profile_id": profile, "flavor": flavor, "spec": spec});
                ("POST", "/demanager/instances".to_owned(), body)
            }
            Self::Show(api) => ("GET", of(api), Value::Null),
            Self::List { api: Api::V1, status } => {
                ("GET", format!("/notebooks?limit=50&sort_dir=ASC{}", filter(*status)), Value::Null)
            }
            Self::List { api: Api::Legacy, status } => {
                let query = format!("de_type=Notebook&sortby=creation_timestamp{}", filter(*status));
                ("GET", format!("/demanager/instances?{query}"), Value::Null)
            }
            Self::Start { duration } => {
                let query = duration.map_or(String::new(), |ms| format!("?duration={ms}"));
                ("POST", format!("{notebook}/start{query}"), Value::Null)
            }
            Self::StartInstance => ("POST", format!("{instance}/action"), json!({"action": "start"})),
            Self::Stop(Api::V1) => ("POST", format!("{notebook}/stop"), Value::Null),
            Self::Stop(Api::Legacy) => ("POST", format!("{instance}/action"), json!({"action": "stop"})),
            Self::Delete(api) => ("DELETE", of(api), Value::Null),
            Self::Lease => ("GET", format!("{notebook}/lease"), Value::Null),
            Self::Renew { duration } => ("PATCH", format!("{notebook}/lease"), json!({"duration": duration})),
            Self::Update { name, description } => ("PUT", notebook, json!({"name": name, "description": description})),
            Self::UpdateInstance { description, auto_stop } => {
                let body = json!({"description": description, "spec": {"auto_stop": auto_stop.said()}});
                ("PUT", instance, body)
            }
            Self::Tag { key, value } => {
                ("POST", format!("{notebook}/tags/create"), json!({"tags": [{"key": key, "value": value}]}))
            }
            Self::Untag { key } => ("DELETE", format!("{notebook}/tags/delete"), json!({"tags": [{"key": key}]})),
            Self::InstanceToken => ("GET", format!("{instance}/token"), Value::Null),
        }
    }
}

fn filter(status: Option<&str>) -> String {
    status.map_or(String::new(), |status| format!("&status={status}"))
}
