//! A small model of the contract: what notebooks of two users are, and what every call of either API answers about them.
//!
//! Written from the rules of the contract, not from the server: which statuses a call is legal in and with which code it is
//! refused elsewhere, how a lease is written (`duration` = time since the creation + grant, at each write), whose notebooks
//! are shown, and that nothing but a request, the end of what is under way or the end of a lease changes anything. Where
//! the contract leaves a choice, it is marked "chosen".

pub(crate) mod call;
mod legacy;
pub(crate) mod sequence;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use call::{Answer, Api, AutoStop, Call, HOUR_MS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Starting,
    Running,
    Stopping,
    Stopped,
    StartFailed,
    Deleting,
    Gone,
}

impl Status {
    /// The same words in both APIs, as far as this model goes.
    fn word(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::StartFailed => "START_FAILED",
            Self::Deleting => "DELETING",
            Self::Gone => "gone",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Notebook {
    pub(crate) id: String,
    pub(crate) owner: usize,
    /// The owner's id.
    user: String,
    pub(crate) status: Status,
    name: String,
    description: String,
    tags: BTreeMap<String, String>,
    create_at: i64,
    lease_at: i64,
    /// Of the present run; `None`: no automatic stop.
    grant: Option<i64>,
    /// What the next start grants: what was last asked for.
    next: Option<i64>,
    slip: Option<Slip>,
}

/// A deliberate mistake, to prove that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    RenewalAdds,
    ForeignIsShown,
    FieldsAreAlwaysOpen,
    LegacyDeletesWhatRuns,
}

#[derive(Default)]
pub(crate) struct Model {
    /// The ids of the users.
    pub(crate) users: [String; 2],
    pub(crate) notebooks: Vec<Notebook>,
    pub(crate) slip: Option<Slip>,
}

impl Model {
    /// What `who` is answered at `now`, about the notebook `at` where the call is about one.
    pub(crate) fn answer(&mut self, now: i64, who: usize, at: usize, call: &Call) -> Answer {
        if !call.is_right() {
            return Answer::refused("ModelArts.6349");
        }
        match call {
            Call::Create { name, description, duration, tags } => {
                let grant = granted(duration.unwrap_or(HOUR_MS));
                let (description, tags) = (description.clone(), tags.iter().cloned().collect());
                self.make(Api::V1, now, Notebook { description, tags, ..self.notebook(now, who, name, grant) })
            }
            Call::CreateInstance { name, .. } if self.has(who, name) => Answer::refused("ModelArts.6301"),
            Call::CreateInstance { name, auto_stop } => {
                // Chosen: without a word there is no automatic stop.
                let grant = if let AutoStop::After(seconds) = auto_stop { Some(seconds * 1000) } else { None };
                self.make(Api::Legacy, now, self.notebook(now, who, name, grant))
            }
            Call::List { api, status } => self.list(now, who, *api, *status),
            call => self.of_one(now, who, at, call),
        }
    }

    /// Of another user, or not there: the answer is the same.
    fn of_one(&mut self, now: i64, who: usize, at: usize, call: &Call) -> Answer {
        let shown = self.slip == Some(Slip::ForeignIsShown) && matches!(call, Call::Show(_));
        let found = self.notebooks.get_mut(at).filter(|notebook| notebook.status != Status::Gone);
        match found.filter(|notebook| notebook.owner == who || shown) {
            Some(notebook) => notebook.answer(now, call),
            None => Answer::unknown(if call.api() == Api::V1 { "ModelArts.6404" } else { "ModelArts.6309" }),
        }
    }

    fn notebook(&self, now: i64, owner: usize, name: &str, grant: Option<i64>) -> Notebook {
        Notebook {
            id: String::new(),
            owner,
            user: self.users[owner].clone(),
            status: Status::Creating,
            name: name.to_owned(),
            description: String::new(),
            tags: BTreeMap::new(),
            create_at: now,
            lease_at: now,
            grant,
            next: grant,
            slip: self.slip,
        }
    }

    fn make(&mut self, api: Api, now: i64, notebook: Notebook) -> Answer {
        let answer = Answer::done(notebook.shown(api, now));
        self.notebooks.push(notebook);
        answer
    }

    /// Chosen: a name is taken until its notebook is gone, and only from its owner.
    fn has(&self, who: usize, name: &str) -> bool {
        self.notebooks.iter().any(|n| n.owner == who && n.status != Status::Gone && n.name == name)
    }

    /// The caller's own, oldest first. Those that are being deleted are listed by the present API only.
    fn list(&self, now: i64, who: usize, api: Api, status: Option<&str>) -> Answer {
        let unlisted = |n: &Notebook| n.status == Status::Gone || (api == Api::Legacy && n.status == Status::Deleting);
        let mine = self.notebooks.iter().filter(|n| n.owner == who && !unlisted(n));
        let mine = mine.filter(|n| status.is_none_or(|status| status == n.status.word()));
        let shown: Vec<_> = mine.map(|n| n.shown(api, now)).collect();
        Answer::done(match api {
            Api::V1 => {
                let pages = i32::from(!shown.is_empty());
                json!({"current": 0, "pages": pages, "size": 50, "total": shown.len(), "data": shown})
            }
            Api::Legacy => json!({"total_count": shown.len(), "instances": shown}),
        })
    }

    /// Leases that are over: their notebooks are being stopped. Returns these.
    pub(crate) fn lapse(&mut self, now: i64) -> Vec<String> {
        let over = self.notebooks.iter_mut().filter(|n| n.ends().is_some_and(|end| end <= now));
        over.map(|notebook| {
            notebook.status = Status::Stopping;
            notebook.id.clone()
        })
        .collect()
    }

    /// Whether something is under way.
    pub(crate) fn is_busy(&self, at: usize) -> bool {
        let status = self.notebooks[at].status;
        matches!(status, Status::Creating | Status::Starting | Status::Stopping | Status::Deleting)
    }

    /// What is under way is over; a start succeeds or fails.
    pub(crate) fn finish(&mut self, at: usize, now: i64, well: bool) {
        let notebook = &mut self.notebooks[at];
        notebook.status = match notebook.status {
            Status::Creating | Status::Starting if well => {
                // The run is granted from the moment at which it can be used.
                notebook.lease_at = now;
                Status::Running
            }
            Status::Creating | Status::Starting => Status::StartFailed,
            Status::Stopping => Status::Stopped,
            Status::Deleting => Status::Gone,
            stable => stable,
        };
    }
}

impl Notebook {
    /// When it is stopped by itself.
    pub(crate) fn ends(&self) -> Option<i64> {
        self.grant.filter(|_| self.status == Status::Running).map(|grant| self.lease_at + grant)
    }

    fn answer(&mut self, now: i64, call: &Call) -> Answer {
        match call {
            Call::Create { .. } | Call::CreateInstance { .. } | Call::List { .. } => unreachable!(),
            Call::Show(api) => Answer::done(self.shown(*api, now)),
            Call::Lease => Answer::done(self.lease()),
            Call::Start { duration } => self.start(now, duration.filter(|ms| *ms != 0)),
            Call::StartInstance => self.start_instance(now),
            Call::Stop(Api::V1) => self.stop(now),
            Call::Stop(Api::Legacy) => self.stop_instance(),
            Call::Delete(Api::V1) => self.delete(now),
            Call::Delete(Api::Legacy) => self.delete_instance(),
            Call::Renew { duration } => self.renew(now, duration.unwrap_or(HOUR_MS)),
            Call::Update { name, description } => self.update(now, name.as_ref(), description.as_ref()),
            Call::UpdateInstance { description, auto_stop } => {
                self.update_instance(now, description.as_ref(), *auto_stop)
            }
            Call::Tag { .. } | Call::Untag { .. } => self.tag(call),
            Call::InstanceToken if self.status == Status::Running => Answer::done(json!({})),
            Call::InstanceToken => Answer::refused("ModelArts.6327"),
        }
    }

    fn begin(&mut self, now: i64, grant: Option<i64>) {
        self.status = Status::Starting;
        (self.lease_at, self.grant, self.next) = (now, grant, grant);
    }

    fn start(&mut self, now: i64, duration: Option<i64>) -> Answer {
        if !matches!(self.status, Status::Stopped | Status::StartFailed) {
            return Answer::refused("ModelArts.6357");
        }
        self.begin(now, duration.map_or(self.next, granted));
        Answer::done(self.shown(Api::V1, now))
    }

    fn stop(&mut self, now: i64) -> Answer {
        if self.status != Status::Running {
            return Answer::refused("ModelArts.6357");
        }
        self.status = Status::Stopping;
        Answer::done(self.shown(Api::V1, now))
    }

    /// In every status; while it is being deleted, the answer is the same.
    fn delete(&mut self, now: i64) -> Answer {
        self.status = Status::Deleting;
        Answer::done(self.shown(Api::V1, now))
    }

    /// Replaces the time that is left.
    fn renew(&mut self, now: i64, duration: i64) -> Answer {
        if self.status != Status::Running {
            return Answer::refused("ModelArts.6327");
        }
        let left = self.ends().filter(|_| self.slip == Some(Slip::RenewalAdds)).map_or(0, |end| end - now);
        self.lease_at = now;
        self.grant = granted(duration).map(|ms| ms + left);
        self.next = self.grant;
        Answer::done(self.lease())
    }

    /// A value that is so already is no change, in every status.
    fn update(&mut self, now: i64, name: Option<&String>, description: Option<&String>) -> Answer {
        let open = matches!(self.status, Status::Running | Status::Stopped | Status::StartFailed);
        let new = name.is_some_and(|name| *name != self.name) || description.is_some_and(|d| *d != self.description);
        if new && !open && self.slip != Some(Slip::FieldsAreAlwaysOpen) {
            return Answer::refused("ModelArts.6347");
        }
        self.name = name.unwrap_or(&self.name).clone();
        self.description = description.unwrap_or(&self.description).clone();
        Answer::done(self.shown(Api::V1, now))
    }

    /// In every status but DELETING; a key that is there already gets the new value, one that is not is no mistake.
    fn tag(&mut self, call: &Call) -> Answer {
        if self.status == Status::Deleting {
            return Answer::refused("ModelArts.6357");
        }
        match call {
            Call::Tag { key, value } => drop(self.tags.insert(key.clone(), value.clone())),
            Call::Untag { key } => drop(self.tags.remove(key)),
            _ => unreachable!(),
        }
        Answer { http: 204, code: "", body: json!({}) }
    }

    fn lease(&self) -> Value {
        let duration = self.grant.map_or(-1, |grant| self.lease_at - self.create_at + grant);
        json!({
            "create_at": self.create_at, "update_at": self.lease_at, "duration": duration, "enable": self.grant.is_some(),
            "type": "TIMING",
        })
    }

    fn shown(&self, api: Api, now: i64) -> Value {
        let (own, status) = (json!({"name": self.name, "description": self.description}), self.status.word());
        let mut shown = own.as_object().unwrap().clone();
        shown.extend(match api {
            Api::V1 => self.of_v1(),
            Api::Legacy => self.of_legacy(now),
        });
        shown.insert("status".to_owned(), json!(status));
        shown.into()
    }

    fn of_v1(&self) -> Map<String, Value> {
        let tags: Vec<_> = self.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let mut shown = members(&json!({
            "user_id": self.user, "tags": tags, "lease": self.lease(), "create_at": self.create_at, "feature": "NOTEBOOK",
            "workspace_id": "0",
        }));
        if !self.id.is_empty() {
            shown.insert("id".to_owned(), json!(self.id));
        }
        shown
    }
}

fn members(object: &Value) -> Map<String, Value> {
    object.as_object().unwrap().clone()
}

/// −1 is for ever.
fn granted(duration: i64) -> Option<i64> {
    (duration != -1).then_some(duration)
}
