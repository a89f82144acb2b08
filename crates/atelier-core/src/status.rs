//! The lifecycle of a notebook, as one table.
//!
//! ```text
//!            INIT ──Begin──► CREATING ──Ready──► RUNNING ◄──Ready── STARTING ◄──StartAsked── STOPPED
//!                               │                │  │ │                │                        ▲
//!                   Broke: CREATE_FAILED         │  │ └─StopAsked─► STOPPING ──────Gone────────┘
//!          ServerFailed: START_FAILED            │  └─SaveAsked─► SNAPSHOTTING ──Ready──► RUNNING
//!                                                └─Broke──► ERROR
//!          every status but DELETED ──DeleteAsked──► DELETING ──Gone──► DELETED ──Restored──► STOPPED
//! ```
//!
//! A host that was rebooted lost every process: a running notebook is started again while its lease runs, and is
//! stopped when the lease is over. A failed start can be started again once its cause is cured.
//!
//! [`Status::on`] is the only function that answers what comes next. The store keeps the result by a conditional
//! write, so two callers who read the same status cannot both change it.

use std::fmt;
use std::str::FromStr;

/// Where a notebook is in its life. The names are the API's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The record exists, nothing is allocated.
    Init,
    /// Storage, compute and network are being allocated for the first time.
    Creating,
    /// A stopped notebook is being started.
    Starting,
    /// A running notebook is being stopped.
    Stopping,
    /// The notebook and its storage are being removed.
    Deleting,
    /// Usable.
    Running,
    /// No compute is held; the volume is kept.
    Stopped,
    /// The notebook is being saved as an image.
    Snapshotting,
    /// Creating failed; nothing is held.
    CreateFailed,
    /// Starting failed; the volume is kept.
    StartFailed,
    /// Deleting failed; it may be tried again.
    DeleteFailed,
    /// A fault while running.
    Error,
    /// Removed. Such a notebook is answered "not found", never shown; while its volume rests in the trash, it can be
    /// restored.
    Deleted,
    /// The account is suspended.
    Frozen,
}

/// What may happen to a notebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Allocation begins.
    Begin,
    /// What was being prepared serves.
    Ready,
    /// What was asked could not be done, or what ran is gone.
    Broke,
    /// Everything but the notebook server itself came up; the volume exists.
    ServerFailed,
    /// What was being taken down is gone.
    Gone,
    /// Somebody asks for a start.
    StartAsked,
    /// Somebody, or the end of the lease, asks for a stop.
    StopAsked,
    /// Somebody asks for deletion.
    DeleteAsked,
    /// Somebody asks for an image of the notebook.
    SaveAsked,
    /// The host was rebooted while the lease still runs.
    RebootedInLease,
    /// The host was rebooted and the lease is over.
    RebootedAfterLease,
    /// The account is suspended.
    Freeze,
    /// The account is in order again.
    Unfreeze,
    /// Its volume is taken out of the trash.
    Restored,
}

impl Status {
    /// Every status, in the order of the contract.
    pub const ALL: [Self; 14] = [
        Self::Init,
        Self::Creating,
        Self::Starting,
        Self::Stopping,
        Self::Deleting,
        Self::Running,
        Self::Stopped,
        Self::Snapshotting,
        Self::CreateFailed,
        Self::StartFailed,
        Self::DeleteFailed,
        Self::Error,
        Self::Deleted,
        Self::Frozen,
    ];

    /// The next status; `None` refuses.
    ///
    /// The last arm names every status: a new one does not compile until it is placed here.
    pub const fn on(self, event: Event) -> Option<Self> {
        use Event as E;
        use Status as S;
        match (self, event) {
            (S::Init, E::Begin) => Some(S::Creating),
            (S::Creating | S::Starting | S::Snapshotting, E::Ready) => Some(S::Running),
            (S::Init | S::Creating, E::Broke) => Some(S::CreateFailed),
            (S::Creating, E::ServerFailed) | (S::Starting, E::ServerFailed | E::Broke) => Some(S::StartFailed),
            (S::Deleting, E::Broke) => Some(S::DeleteFailed),
            (S::Running | S::Stopping | S::Snapshotting, E::Broke) => Some(S::Error),
            (S::Stopped | S::StartFailed | S::Error, E::StartAsked) | (S::Running, E::RebootedInLease) => {
                Some(S::Starting)
            }
            (S::Running | S::Error, E::StopAsked) => Some(S::Stopping),
            (S::Stopping, E::Gone)
            | (S::Running, E::RebootedAfterLease)
            | (S::Frozen, E::Unfreeze)
            | (S::Deleted, E::Restored) => Some(S::Stopped),
            (S::Running, E::SaveAsked) => Some(S::Snapshotting),
            (S::Running | S::Stopped, E::Freeze) => Some(S::Frozen),
            (S::Deleting, E::Gone) => Some(S::Deleted),
            (S::Deleted, _) => None,
            (_, E::DeleteAsked) => Some(S::Deleting),
            (
                S::Init
                | S::Creating
                | S::Starting
                | S::Stopping
                | S::Deleting
                | S::Running
                | S::Stopped
                | S::Snapshotting
                | S::CreateFailed
                | S::StartFailed
                | S::DeleteFailed
                | S::Error
                | S::Frozen,
                _,
            ) => None,
        }
    }

    /// Nothing is under way: only a request, the lease or a fault moves it.
    pub const fn is_stable(self) -> bool {
        !matches!(
            self,
            Self::Init | Self::Creating | Self::Starting | Self::Stopping | Self::Deleting | Self::Snapshotting
        )
    }

    /// A `fail_reason` belongs to this status.
    pub const fn is_failed(self) -> bool {
        matches!(self, Self::CreateFailed | Self::StartFailed | Self::DeleteFailed | Self::Error)
    }

    /// Compute is held, or may be: such a notebook counts against the capacity of its host.
    pub const fn holds_compute(self) -> bool {
        matches!(
            self,
            Self::Init | Self::Creating | Self::Starting | Self::Stopping | Self::Running | Self::Snapshotting
        )
    }

    /// A GPU is held, or may be: it is free when the instance that had it has gone, and never promised twice.
    pub const fn holds_gpus(self) -> bool {
        self.holds_compute() || matches!(self, Self::Deleting)
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Creating => "CREATING",
            Self::Starting => "STARTING",
            Self::Stopping => "STOPPING",
            Self::Deleting => "DELETING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Snapshotting => "SNAPSHOTTING",
            Self::CreateFailed => "CREATE_FAILED",
            Self::StartFailed => "START_FAILED",
            Self::DeleteFailed => "DELETE_FAILED",
            Self::Error => "ERROR",
            Self::Deleted => "DELETED",
            Self::Frozen => "FROZEN",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a status")]
pub struct NotAStatus;

impl FromStr for Status {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text)).ok_or(NotAStatus)
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 14] = [
        Self::Begin,
        Self::Ready,
        Self::Broke,
        Self::ServerFailed,
        Self::Gone,
        Self::StartAsked,
        Self::StopAsked,
        Self::DeleteAsked,
        Self::SaveAsked,
        Self::RebootedInLease,
        Self::RebootedAfterLease,
        Self::Freeze,
        Self::Unfreeze,
        Self::Restored,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The column "leaves to" of the contract's table of states, written out a second time by hand.
    fn leaves_to(status: Status) -> &'static [Status] {
        use Status as S;
        match status {
            S::Init => &[S::Creating, S::CreateFailed, S::Deleting],
            S::Creating => &[S::Running, S::CreateFailed, S::StartFailed, S::Deleting],
            S::Starting => &[S::Running, S::StartFailed, S::Deleting],
            S::Running => &[S::Stopping, S::Snapshotting, S::Deleting, S::Error, S::Frozen, S::Starting, S::Stopped],
            S::Snapshotting => &[S::Running, S::Error, S::Deleting],
            S::Stopping => &[S::Stopped, S::Error, S::Deleting],
            S::Stopped => &[S::Starting, S::Deleting, S::Frozen],
            S::Deleting => &[S::Deleted, S::DeleteFailed, S::Deleting],
            S::Deleted => &[S::Stopped],
            S::CreateFailed | S::DeleteFailed => &[S::Deleting],
            S::StartFailed => &[S::Starting, S::Deleting],
            S::Error => &[S::Stopping, S::Starting, S::Deleting],
            S::Frozen => &[S::Stopped, S::Deleting],
        }
    }

    #[test]
    fn every_status_leaves_exactly_to_what_the_contract_lists() {
        for status in Status::ALL {
            for event in Event::ALL {
                if let Some(next) = status.on(event) {
                    assert!(leaves_to(status).contains(&next), "{status} on {event:?} gives {next}");
                }
            }
            for next in leaves_to(status) {
                assert!(
                    Event::ALL.iter().any(|e| status.on(*e) == Some(*next)),
                    "no event leads from {status} to {next}"
                );
            }
        }
    }

    #[test]
    fn requests_are_legal_exactly_where_the_contract_says() {
        use Status as S;
        for status in Status::ALL {
            let start = matches!(status, S::Stopped | S::StartFailed | S::Error);
            let stop = matches!(status, S::Running | S::Error);
            assert_eq!(status.on(Event::StartAsked).is_some(), start, "start in {status}");
            assert_eq!(status.on(Event::StopAsked).is_some(), stop, "stop in {status}");
            assert_eq!(status.on(Event::DeleteAsked).is_some(), status != S::Deleted, "delete in {status}");
            assert_eq!(status.on(Event::SaveAsked).is_some(), status == S::Running, "save in {status}");
        }
    }

    #[test]
    fn no_transitional_status_is_a_dead_end_when_its_work_breaks() {
        for status in Status::ALL.into_iter().filter(|s| !s.is_stable()) {
            let next = status.on(Event::Broke).unwrap();
            assert!(next.is_stable() && next.is_failed(), "{status} breaks into {next}");
        }
    }

    #[test]
    fn names_read_back_in_any_case() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(status.as_str().to_lowercase().parse(), Ok(status));
        }
        assert_eq!("RUN".parse::<Status>(), Err(NotAStatus));
    }

    proptest! {
        /// Whatever happens in whatever order: a deleted notebook stays deleted unless it is restored, and from everywhere
        /// else deletion is one request away.
        #[test]
        fn any_history_can_be_deleted(events in proptest::collection::vec(0..Event::ALL.len(), 0..40)) {
            let mut status = Status::Init;
            for event in events {
                if let Some(next) = status.on(Event::ALL[event]) {
                    prop_assert_eq!(status == Status::Deleted, Event::ALL[event] == Event::Restored);
                    status = next;
                }
            }
            if status != Status::Deleted {
                let end = status.on(Event::DeleteAsked).and_then(|s| s.on(Event::Gone));
                prop_assert_eq!(end, Some(Status::Deleted));
            }
        }
    }
}
