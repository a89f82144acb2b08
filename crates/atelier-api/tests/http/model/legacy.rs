//! What the legacy API answers.

use serde_json::{Map, Value, json};

use super::call::{Answer, Api, AutoStop};
use super::{Notebook, Slip, Status, members};

impl Notebook {
    pub(super) fn start_instance(&mut self, now: i64) -> Answer {
        let before = self.status;
        match before {
            Status::Stopped | Status::StartFailed => {
                self.begin(now, self.next);
                acted(before, self.status)
            }
            Status::Running => Answer::refused("ModelArts.6305"),
            other => unsettled(other),
        }
    }

    pub(super) fn stop_instance(&mut self) -> Answer {
        match self.status {
            Status::Running => {
                self.status = Status::Stopping;
                acted(Status::Running, self.status)
            }
            Status::Stopped | Status::StartFailed => Answer::refused("ModelArts.6307"),
            other => unsettled(other),
        }
    }

    /// Only when stopped. Chosen: asked again, the answer is the same, as in the other API.
    pub(super) fn delete_instance(&mut self) -> Answer {
        match self.status {
            Status::Running if self.slip != Some(Slip::LegacyDeletesWhatRuns) => Answer::refused("ModelArts.6304"),
            Status::Running | Status::Stopped | Status::StartFailed | Status::Deleting => {
                self.status = Status::Deleting;
                Answer::done(json!({"instance_id": format!("DE-{}", self.id)}))
            }
            other => unsettled(other),
        }
    }

    /// The automatic stop counts from the next start on. Chosen: accepted in every status but DELETING.
    pub(super) fn update_instance(&mut self, now: i64, description: Option<&String>, auto_stop: AutoStop) -> Answer {
        if self.status == Status::Deleting {
            return Answer::refused("ModelArts.6347");
        }
        self.description = description.unwrap_or(&self.description).clone();
        self.next = match auto_stop {
            AutoStop::Unsaid => self.next,
            AutoStop::Off => None,
            AutoStop::After(seconds) => Some(seconds * 1000),
        };
        Answer::done(self.shown(Api::Legacy, now))
    }

    /// When and how soon it ends is said only while it runs; whether and how long, of the next start.
    pub(super) fn of_legacy(&self, now: i64) -> Map<String, Value> {
        let end = self.ends();
        let auto_stop = json!({
            "enable": self.next.is_some(), "duration": self.next.map(|ms| ms / 1000), "stop_timestamp": end,
            "remain_time": end.map(|end| (end - now) / 1000),
        });
        let mut shown = members(&json!({
            "user": {"id": self.user}, "creation_timestamp": self.create_at.to_string(), "spec": {"auto_stop": auto_stop},
        }));
        if !self.id.is_empty() {
            shown.insert("id".to_owned(), json!(format!("DE-{}", self.id)));
        }
        shown
    }
}

/// What is under way refuses. Chosen: a deletion has no code in this API, so it has that of any conflict.
fn unsettled(status: Status) -> Answer {
    match status {
        Status::Creating | Status::Starting => Answer::refused("ModelArts.6306"),
        Status::Stopping => Answer::refused("ModelArts.6308"),
        _ => Answer::refused("ModelArts.6357"),
    }
}

fn acted(before: Status, after: Status) -> Answer {
    Answer::done(json!({"previous_state": before.word(), "current_status": after.word()}))
}
