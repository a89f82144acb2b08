//! The words of the legacy API for the status of a notebook, and its codes for what that status refuses.

use atelier_core::refusal::{Code, Refusal};
use atelier_core::status::Status;

/// The words that a list can be asked for. Four of them no notebook ever has.
pub(crate) const WORDS: [&str; 12] = [
    "CREATING",
    "CREATE_FAILED",
    "STARTING",
    "RESTARTING",
    "START_FAILED",
    "RUNNING",
    "STOPPING",
    "STOPPED",
    "UNAVAILABLE",
    "DELETED",
    "RESIZING",
    "RESIZE_FAILED",
];

/// The word for a status. An instance is DELETING while it is shown by its id; lists leave it out.
pub(crate) const fn word(status: Status) -> &'static str {
    match status {
        Status::Init | Status::Creating => "CREATING",
        Status::CreateFailed => "CREATE_FAILED",
        Status::Starting => "STARTING",
        Status::StartFailed => "START_FAILED",
        Status::Running | Status::Snapshotting => "RUNNING",
        Status::Stopping => "STOPPING",
        Status::Stopped => "STOPPED",
        Status::Error | Status::Frozen | Status::DeleteFailed => "UNAVAILABLE",
        Status::Deleting => "DELETING",
        Status::Deleted => "DELETED",
    }
}

/// Whether lists show a notebook in this status.
pub(crate) const fn is_listed(status: Status) -> bool {
    !matches!(status, Status::Deleting | Status::Deleted)
}

/// Refuses a start where the legacy API has a code of its own for it.
pub(crate) fn may_start(status: Status) -> Result<(), Refusal> {
    match status {
        Status::Running | Status::Snapshotting => Err(refused(Code::StartOfRunning, status, "started")),
        _ => is_settled(status, "started"),
    }
}

/// Refuses a stop where the legacy API has a code of its own for it.
pub(crate) fn may_stop(status: Status) -> Result<(), Refusal> {
    match status {
        Status::Stopped | Status::StartFailed | Status::CreateFailed | Status::DeleteFailed => {
            Err(refused(Code::StopOfStopped, status, "stopped"))
        }
        _ => is_settled(status, "stopped"),
    }
}

/// Only what rests and does not run is deleted. Asked again while it is being deleted, the answer is the same.
pub(crate) fn may_delete(status: Status) -> Result<(), Refusal> {
    match status {
        Status::Running | Status::Snapshotting => Err(refused(Code::DeleteOfRunning, status, "deleted")),
        _ => is_settled(status, "deleted"),
    }
}

fn is_settled(status: Status, done: &str) -> Result<(), Refusal> {
    match status {
        Status::Init | Status::Creating | Status::Starting => Err(refused(Code::WhileStarting, status, done)),
        Status::Stopping => Err(refused(Code::WhileStopping, status, done)),
        _ => Ok(()),
    }
}

fn refused(code: Code, status: Status, done: &str) -> Refusal {
    Refusal::new(code, format!("the instance is {}; it cannot be {done} now", word(status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_but_those_of_a_deletion_can_be_asked_for() {
        for status in Status::ALL {
            assert_eq!(WORDS.contains(&word(status)), status != Status::Deleting, "{status}");
        }
    }

    #[test]
    fn each_status_refuses_with_the_code_of_its_own() {
        let code = |done: Result<(), Refusal>| done.err().map(|refusal| refusal.code());
        for (status, start, stop, delete) in [
            (Status::Init, Some(Code::WhileStarting), Some(Code::WhileStarting), Some(Code::WhileStarting)),
            (Status::Creating, Some(Code::WhileStarting), Some(Code::WhileStarting), Some(Code::WhileStarting)),
            (Status::Starting, Some(Code::WhileStarting), Some(Code::WhileStarting), Some(Code::WhileStarting)),
            (Status::Running, Some(Code::StartOfRunning), None, Some(Code::DeleteOfRunning)),
            (Status::Snapshotting, Some(Code::StartOfRunning), None, Some(Code::DeleteOfRunning)),
            (Status::Stopping, Some(Code::WhileStopping), Some(Code::WhileStopping), Some(Code::WhileStopping)),
            (Status::Stopped, None, Some(Code::StopOfStopped), None),
            (Status::CreateFailed, None, Some(Code::StopOfStopped), None),
            (Status::StartFailed, None, Some(Code::StopOfStopped), None),
            (Status::DeleteFailed, None, Some(Code::StopOfStopped), None),
            (Status::Error, None, None, None),
            (Status::Frozen, None, None, None),
            (Status::Deleting, None, None, None),
        ] {
            let codes = (code(may_start(status)), code(may_stop(status)), code(may_delete(status)));
            assert_eq!(codes, (start, stop, delete), "{status}");
        }
    }
}
