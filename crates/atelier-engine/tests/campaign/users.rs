//! Users: what they ask for, and what they are answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atelier_core::Caller;
use atelier_core::feature::Feature;
use atelier_core::hook::{Action, Hook, Hooks, Mode};
use atelier_core::id::NotebookId;
use atelier_core::image;
use atelier_core::lease::{Grant, LeaseKind};
use atelier_core::notebook::{LegacyWords, Notebook};
use atelier_core::status::Status;
use atelier_core::tags::Tags;
use atelier_engine::{CreateNotebook, Engine, ListNotebooks, NewVolume, Size};
use atelier_store::{NotebookFilter, SortKey};

use crate::model::{Act, Answer, Asked};
use crate::plan::{Command, Extras, Wish};
use crate::time::VirtualTime;

/// A command on its way.
pub(crate) struct Errand {
    caller: Caller,
    command: Command,
    pub(crate) asked: Arc<Mutex<Asked>>,
}

impl Errand {
    /// Finds out what a command is about; `None` when nothing fits.
    pub(crate) fn new(mut command: Command, rows: &[Notebook], request: String) -> Option<Self> {
        let caller = caller(command.user);
        let (act, notebook) = target(&mut command, rows, &caller)?;
        let grant = if command.grant_ms < 0 { Grant::Never } else { Grant::Millis(command.grant_ms) };
        let trespass = matches!(command.wish, Wish::Trespass { .. });
        let asked = Asked { request, act, notebook, grant, trespass, answer: Answer::None };
        Some(Self { caller, command, asked: Arc::new(Mutex::new(asked)) })
    }

    /// The command as it stands.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }

    /// The client waits for the answer.
    pub(crate) const fn stays(&self) -> bool {
        !self.command.leaves
    }

    /// Sends one command; its answer is noted when it comes.
    pub(crate) fn send(self, engine: Engine) {
        let leaves = self.command.leaves;
        let client = tokio::spawn(async move {
            let answer = self.ask(&engine).await;
            self.asked.lock().unwrap().answer = answer;
        });
        if leaves {
            tokio::spawn(async move {
                for _ in 0..6 {
                    tokio::task::yield_now().await;
                }
                client.abort();
            });
        }
    }

    async fn ask(&self, engine: &Engine) -> Answer {
        let Asked { request, act, notebook, grant, .. } = self.asked.lock().unwrap().clone();
        let caller = &self.caller;
        let about = |notebook: Notebook| (notebook.id, notebook.generation);
        let answered = match (act, notebook) {
            (Act::Create, _) => engine.create(caller, &request, new_notebook(self.command, grant)).await.map(about),
            (Act::Start, Some(id)) => engine.start(caller, &request, id, Some(grant), None).await.map(about),
            (Act::Stop, Some(id)) => engine.stop(caller, &request, id).await.map(about),
            (Act::Delete, Some(id)) => engine.delete(caller, &request, id).await.map(about),
            (Act::Renew, Some(id)) => {
                engine.renew(caller, &request, id, grant, LeaseKind::Timing).await.map(|_| (id, 0))
            }
            _ => {
                return match engine.list(caller, everything()).await {
                    Ok(_) => Answer::None,
                    Err(refusal) => Answer::refused(&refusal),
                };
            }
        };
        match answered {
            Ok((id, generation)) => Answer::Done(Some(id), generation),
            Err(refusal) => Answer::refused(&refusal),
        }
    }
}

fn target(command: &mut Command, rows: &[Notebook], caller: &Caller) -> Option<(Act, Option<NotebookId>)> {
    let mine = |n: &Notebook| n.owner.user_id == caller.user_id;
    let runs = |n: &Notebook| mine(n) && n.status() == Status::Running;
    let rests = |n: &Notebook| mine(n) && matches!(n.status(), Status::Stopped | Status::StartFailed | Status::Error);
    if let Wish::Start { nth } = command.wish {
        if let Some(id) = pick(rows, nth, rests) {
            return Some((Act::Start, Some(id)));
        }
        command.wish = Wish::Create { flavor: nth };
    }
    Some(match command.wish {
        Wish::Create { .. } | Wish::Start { .. } => (Act::Create, None),
        Wish::List => (Act::List, None),
        Wish::Stop { nth } => (Act::Stop, Some(pick(rows, nth, runs)?)),
        Wish::Renew { nth } => (Act::Renew, Some(pick(rows, nth, runs)?)),
        Wish::Delete { nth } => (Act::Delete, Some(pick(rows, nth, mine)?)),
        Wish::Trespass { nth } => (Act::Stop, Some(pick(rows, nth, |n| !mine(n))?)),
    })
}

/// Waits for those who stay; the request that goes without an answer is returned.
pub(crate) async fn wait_for_answers(
    time: &VirtualTime,
    stays: &[Arc<Mutex<Asked>>],
    patience_ms: i64,
) -> Option<String> {
    let began = time.passed();
    let silent = || stays.iter().map(|a| a.lock().unwrap()).find(|a| a.act != Act::List && a.answer == Answer::None);
    loop {
        let request = silent()?.request.clone();
        if time.passed() - began > patience_ms {
            return Some(request);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn caller(user: u8) -> Caller {
    let id = |n: u8| format!("{n:032x}");
    Caller {
        user_id: id(user).parse().unwrap(),
        user_name: format!("user-{user}"),
        domain_id: id(0xd0).parse().unwrap(),
        domain_name: "atelier".into(),
        project_id: id(0xf0).parse().unwrap(),
        source: atelier_core::caller::Source::default(),
    }
}

fn pick(rows: &[Notebook], nth: u8, fits: impl Fn(&Notebook) -> bool) -> Option<NotebookId> {
    let fitting: Vec<_> = rows.iter().filter(|n| fits(n)).map(|n| n.id).collect();
    fitting.get(usize::from(nth) % fitting.len().max(1)).copied()
}

fn new_notebook(command: Command, grant: Grant) -> CreateNotebook {
    let Wish::Create { flavor } = command.wish else { unreachable!("only creations come here") };
    let flavor = ["atelier.cpu.small", "atelier.cpu.small", "modelarts.vm.cpu.free", "modelarts.vm.cpu.2u"]
        [usize::from(flavor % 4)];
    CreateNotebook {
        name: "nb".into(),
        description: String::new(),
        feature: Feature::Notebook,
        tags: Tags::none(),
        size: Size::Flavor(flavor.into()),
        pool_id: None,
        image_id: image::BUILT_IN,
        volume: if command.extras.shared {
            NewVolume::Shared { capacity_gib: None }
        } else {
            NewVolume::Own { capacity_gib: 5 }
        },
        grant,
        lease_kind: LeaseKind::Timing,
        workspace_id: "0".into(),
        hooks: hooks(command.extras),
        legacy: LegacyWords::default(),
    }
}

fn hooks(extras: Extras) -> Hooks {
    let hook = |mode| Hook::new("hook", Action::Command("true".into()), mode).unwrap();
    Hooks {
        pre_start: extras.waits.then(|| hook(Mode::Block)),
        post_start: if extras.follows { Some(hook(Mode::Async)) } else { extras.waits.then(|| hook(Mode::Block)) },
    }
}

pub(crate) fn everything() -> ListNotebooks {
    ListNotebooks {
        filter: NotebookFilter { workspace_id: Some("0".into()), ..NotebookFilter::NONE },
        sort_key: SortKey::CreateAt,
        then_by: Vec::new(),
        descending: false,
        offset: 0,
        limit: 1000,
    }
}
