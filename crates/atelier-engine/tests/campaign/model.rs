//! What must be there, made from what was answered and from the events.
//!
//! An event is written with the change that it tells of. So the events of a notebook, folded from the first to the last,
//! say what its row must be; and since every command's event carries the id of its request, they say of each command
//! whether it was done. The model knows of each command what was answered, and the two must agree.

use std::collections::HashMap;

use atelier_core::caller::Actor;
use atelier_core::clock::Timestamp;
use atelier_core::event::NotebookEvent;
use atelier_core::id::NotebookId;
use atelier_core::lease::Grant;
use atelier_core::status::Status;
use atelier_core::{Code, Refusal};

/// What a command wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Start,
    Stop,
    Delete,
    Renew,
    List,
}

impl Act {
    /// The event that tells of it.
    const fn event(self) -> &'static str {
        match self {
            Self::Create => "create.asked",
            Self::Start => "start.asked",
            Self::Stop => "stop.asked",
            Self::Delete => "delete.asked",
            Self::Renew => "lease.renewed",
            Self::List => "",
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: the client went away, or the process died.
    None,
    /// It is done. The generation is what the answer showed of the notebook.
    Done(Option<NotebookId>, u64),
    /// It is refused.
    Refused(Code, String),
}

impl Answer {
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Self::Refused(refusal.code(), refusal.message().to_owned())
    }
}

/// One command and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: String,
    pub(crate) act: Act,
    pub(crate) notebook: Option<NotebookId>,
    pub(crate) grant: Grant,
    /// The notebook is somebody else's.
    pub(crate) trespass: bool,
    pub(crate) answer: Answer,
}

impl Asked {
    /// The notebook that it was about, once it is known.
    pub(crate) const fn about(&self) -> Option<NotebookId> {
        match self.answer {
            Answer::Done(Some(id), _) => Some(id),
            _ => self.notebook,
        }
    }

    /// What is wrong with the answer, given the events of the notebook.
    pub(crate) fn contradicts(&self, events: &[NotebookEvent]) -> Option<String> {
        let tells = |e: &NotebookEvent| e.origin.request_id.as_deref() == Some(&self.request);
        let told = events.iter().any(tells);
        match &self.answer {
            Answer::Done(..) if self.act == Act::Delete => {
                let asked = events.iter().any(|e| e.what == self.act.event());
                (!asked).then(|| format!("{self:?} was answered, and no event tells of a deletion"))
            }
            Answer::Done(..) => {
                let told = events.iter().any(|e| tells(e) && e.what == self.act.event());
                (!told).then(|| format!("{self:?} was answered, and no event tells of it"))
            }
            Answer::Refused(code, _) if *code != Code::Internal => {
                told.then(|| format!("{self:?} was refused, and an event tells of it"))
            }
            Answer::None | Answer::Refused(..) if self.trespass && told => {
                Some(format!("{self:?} is somebody else's, and an event tells of it"))
            }
            Answer::None | Answer::Refused(..) => None,
        }
    }
}

/// What the events make of a notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `None` once it is gone.
    pub(crate) status: Option<Status>,
    pub(crate) grant: Grant,
    /// When the lease ends; `None` when it does not.
    pub(crate) lease_end: Option<Timestamp>,
    /// The present start is the server's own, after a reboot: it grants nothing.
    by_itself: bool,
    /// It ran at least once, so there is a user's work in its volume.
    pub(crate) ran: bool,
}

/// The events of one notebook, folded. `grants`: what each request asked for.
pub(crate) fn fold(events: &[NotebookEvent], grants: &HashMap<String, Grant>) -> Result<Told, String> {
    events.first().filter(|e| e.what == "create.asked").ok_or("a history does not begin with its creation")?;
    let mut told =
        Told { status: Some(Status::Creating), grant: Grant::Never, lease_end: None, by_itself: false, ran: false };
    for event in events {
        told.follow(event, grants)?;
    }
    Ok(told)
}

impl Told {
    fn follow(&mut self, event: &NotebookEvent, grants: &HashMap<String, Grant>) -> Result<(), String> {
        if event.what.starts_with("orphan.") || event.what == "volume.removed" {
            return Ok(());
        }
        let before = self.status.ok_or_else(|| format!("after the end of the notebook: {event:?}"))?;
        self.follow_lease(event, grants)?;
        let Some((legal, after)) = self.way(event) else { return Ok(()) };
        if !legal.contains(&before) {
            return Err(format!("{before} before {event:?}"));
        }
        self.status = after;
        self.ran |= after == Some(Status::Running);
        Ok(())
    }

    /// From where an event may lead, and to where; `None` when it tells of no change of status.
    fn way(&self, event: &NotebookEvent) -> Option<(&'static [Status], Option<Status>)> {
        use Status as S;
        let (legal, after): (&[S], S) = match event.what.as_str() {
            "create.asked" => (&[S::Creating], S::Creating),
            "create.done" => (&[S::Creating], S::Running),
            "create.failed" if event.why.starts_with("initialize the instance") => (&[S::Creating], S::StartFailed),
            "create.failed" => (&[S::Creating], S::CreateFailed),
            "start.asked" if self.by_itself => (&[S::Running], S::Starting),
            "start.asked" => (&[S::Stopped, S::StartFailed, S::Error], S::Starting),
            "start.done" => (&[S::Starting], S::Running),
            "start.failed" => (&[S::Starting], S::StartFailed),
            "stop.asked" => (&[S::Running, S::Error], S::Stopping),
            "stop.done" => (&[S::Stopping], S::Stopped),
            "stop.failed" => (&[S::Stopping], S::Error),
            "delete.asked" => (&S::ALL, S::Deleting),
            "delete.failed" => (&[S::Deleting], S::DeleteFailed),
            "fault" => (&[S::Running], S::Error),
            "lease.renewed" | "server.ended" | "server.restarted" => (&[S::Running], S::Running),
            "host.rebooted" if event.why.contains("is stopped") => (&[S::Running], S::Stopped),
            "delete.done" => return Some((&[S::Deleting], None)),
            _ => return None,
        };
        Some((legal, Some(after)))
    }

    fn follow_lease(&mut self, event: &NotebookEvent, grants: &HashMap<String, Grant>) -> Result<(), String> {
        match event.what.as_str() {
            "stop.asked" if event.origin.actor == Actor::Lease => return self.must_be_over(event),
            "clock.jumped" => {
                let left = event.why.split("; ").nth(1).and_then(|text| text.split(' ').next());
                let left =
                    left.and_then(|ms| ms.parse().ok()).ok_or_else(|| format!("no rest of a lease: {event:?}"))?;
                self.lease_end = Some(event.at.plus_millis(left));
                return Ok(());
            }
            "start.asked" => self.by_itself = event.origin.actor == Actor::System,
            _ => {}
        }
        let asks = match event.what.as_str() {
            "create.asked" | "lease.renewed" => true,
            "start.asked" => !self.by_itself,
            _ => false,
        };
        if asks {
            let asked = event.origin.request_id.as_ref().and_then(|r| grants.get(r));
            self.grant = *asked.ok_or_else(|| format!("nobody asked for this: {event:?}"))?;
        }
        let done = event.what == "create.done" || (event.what == "start.done" && !self.by_itself);
        if asks || done {
            self.lease_end = match self.grant {
                Grant::Never => None,
                Grant::Millis(ms) => Some(event.at.plus_millis(ms)),
            };
        }
        Ok(())
    }

    fn must_be_over(&self, event: &NotebookEvent) -> Result<(), String> {
        if self.lease_end.is_some_and(|end| event.at >= end) {
            return Ok(());
        }
        Err(format!("stopped by a lease that ends at {:?}: {event:?}", self.lease_end))
    }
}
