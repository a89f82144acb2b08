//! Notebook servers and kernels that start without starting: forked from processes that have imported them already.
//!
//! Most of a notebook server's start is Python importing a thousand modules, the same ones each time. A *zygote* has
//! done that once, on the root of the built-in image, in a jail (`launch::jail`), and holds nothing else: no
//! credential, no thread, no descriptor of its own, nothing of any user. It is asked by descriptors and forks; the child finds its
//! own way into the container (`descent.py`). The children share the zygote's memory, so a notebook also weighs less.
//!
//! There are two for an image, because it has two Python environments. The server's (`server.py`) has one child for
//! each start of a notebook server, which it has made as far as it goes without knowing whose it is (`prepared.py`). That child
//! sets out as soon as there is a container, unless a hook has to run in it first. The kernels' (`kernels.py`) has one
//! child for each notebook, which sets out at the same time, stays in the container, as ma-user, and forks the notebook's
//! kernels there, when the notebook server asks (`atelier_provisioner.py`, a package of the image's).
//!
//! Nothing depends on them. While there is no zygote (it is being made, or it cannot be), the init starts the server by
//! its command line, and the server its kernels; the notebook's events say so and why.
//!
//! - Only an image that no tenant can change is imported by root of this machine: [`ReadyImage::zygotes`].
//! - A zygote's children share its address layout and its hash seed, so it is renewed after [`MOST_CHILDREN`] of them.
//!   When it ends, another one is made, with growing pauses.

mod nursery;
mod process;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use atelier_init::protocol::{Command, Request, StartServer};
use serde::Serialize;
use serde_json::json;

use self::nursery::Nursery;
pub(crate) use self::process::Destination;
use self::process::Zygote;
use crate::config::Launcher;
use crate::launch::{PROGRAM, ZygoteSpec};
use crate::seccomp;
use crate::source::{Pythons, ReadyImage};

/// Children of one zygote.
const MOST_CHILDREN: u32 = 1000;
/// Room for the title of a child: an argument that says nothing.
const ROOM: usize = 2048;
/// Where a container's own zygote of kernels listens; `atelier_provisioner.py` knows it too.
const KERNELS_SOCKET: &str = "/run/atelier/nb/kernels.sock";

const DESCENT: (&str, &str) = ("descent.py", include_str!("../../zygote/descent.py"));
const SERVER: (&str, &str) = ("server", include_str!("../../zygote/server.py"));
const PREPARED: (&str, &str) = ("prepared.py", include_str!("../../zygote/prepared.py"));
/// How servers will be started, but for their secrets; `server.py` knows the name too.
const PLAN: &str = "plan.json";
const KERNELS: (&str, &str) = ("kernels", include_str!("../../zygote/kernels.py"));

/// What a child is asked to become.
#[derive(Serialize)]
struct Errand<'a> {
    /// As if it were started.
    #[serde(flatten)]
    server: &'a StartServer,
    /// How many words of the command line name the program.
    program: usize,
    /// Where it listens.
    socket: &'a str,
    /// How the init is told that this is the notebook server, when it is.
    takeover: Option<Request>,
    syncs: Syncs,
}

/// How the init comes to answer its calls of `sync`.
#[derive(Serialize)]
struct Syncs {
    /// The number of the call that installs a filter.
    seccomp: i64,
    filter: String,
    /// How the init is asked whether it answers them, and told that it is to.
    question: Request,
    request: Request,
}

impl Syncs {
    fn new() -> Self {
        let [question, request] = [Command::Status, Command::AnswerSyncs].map(Request::new);
        Self { seccomp: libc::SYS_seccomp, filter: seccomp::sync_filter(), question, request }
    }
}

/// A child that a zygote is asked for when this is run. Its errand may hold a secret.
pub(crate) struct Fork {
    zygote: Arc<Zygote>,
    errand: Vec<u8>,
    to: Destination,
}

impl Fork {
    fn new(zygote: Arc<Zygote>, errand: &Errand<'_>, to: Destination) -> Result<Self, String> {
        let errand = serde_json::to_vec(errand).map_err(|e| format!("no child can be asked for: {e}"))?;
        Ok(Self { zygote, errand, to })
    }

    /// The child is in the container afterwards and listens, or the error says why not.
    pub(crate) async fn run(self) -> Result<(), String> {
        self.zygote.fork(&self.errand, &self.to).await.map_err(|e| format!("the fork failed: {e}"))
    }
}

/// The zygotes of one image.
#[derive(Debug)]
struct Pair {
    layers: Vec<PathBuf>,
    server: Nursery,
    kernels: Nursery,
}

/// The zygotes of the image that was asked for last.
#[derive(Debug)]
pub(crate) struct Zygotes {
    allowed: bool,
    launcher: Launcher,
    run: PathBuf,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    pair: Option<Pair>,
    /// None is made any more.
    closed: bool,
}

impl Zygotes {
    /// `run` is a folder in which mount points can be made.
    pub(crate) fn new(allowed: bool, launcher: Launcher, run: &Path) -> Self {
        Self { allowed, launcher, run: run.to_owned(), present: Mutex::default() }
    }

    fn present(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the zygotes of this image made, unless they are there or are being made. `plan` is how its notebook servers
    /// will be started, but for their secrets.
    pub(crate) fn want<E>(&self, image: &ReadyImage, plan: impl FnOnce() -> Result<StartServer, E>) -> Result<(), E> {
        let Some(pythons) = image.zygotes.as_ref().filter(|_| self.allowed) else { return Ok(()) };
        let mut present = self.present();
        if !present.closed && present.pair.as_ref().is_none_or(|pair| pair.layers != image.layers) {
            let nursery = |name, spec| Nursery::open(name, self.launcher.clone(), spec);
            present.pair = Some(Pair {
                layers: image.layers.clone(),
                server: nursery("the notebook servers", self.server(image, pythons, &plan()?)),
                kernels: nursery("the kernels", self.kernels(image, pythons)),
            });
        }
        Ok(())
    }

    fn spec(&self, image: &ReadyImage, pythons: &Pythons, python: &[&str], files: &[(&str, &str)]) -> ZygoteSpec {
        let program = files.first().map(|(name, _)| format!("/{PROGRAM}/{name}"));
        let words = python.iter().map(|word| (*word).to_owned());
        ZygoteSpec {
            lowers: image.layers.clone(),
            run: self.run.clone(),
            argv: words.chain(program).chain([" ".repeat(ROOM)]).collect(),
            links: pythons.links.clone(),
            files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        }
    }

    fn server(&self, image: &ReadyImage, pythons: &Pythons, plan: &StartServer) -> ZygoteSpec {
        let StartServer { argv, env, cwd, .. } = plan;
        let plan = json!({"argv": argv, "program": image.server.len(), "env": env, "cwd": cwd}).to_string();
        self.spec(image, pythons, &[&pythons.server, "-I"], &[SERVER, DESCENT, PREPARED, (PLAN, &plan)])
    }

    /// As a kernel is started by its specification.
    fn kernels(&self, image: &ReadyImage, pythons: &Pythons) -> ZygoteSpec {
        self.spec(image, pythons, &[&pythons.kernels, "-Xfrozen_modules=off"], &[KERNELS, DESCENT])
    }

    /// No zygote runs afterwards, whoever wants one meanwhile; what was forked goes on.
    pub(crate) async fn close(&self) {
        let pair = {
            let mut present = self.present();
            present.closed = true;
            present.pair.take()
        };
        if let Some(pair) = pair {
            tokio::join!(pair.server.close(), pair.kernels.close());
        }
    }

    /// Returns when servers and kernels are forked, or with the reason why they are not.
    pub(crate) async fn settled(&self) -> Result<(), String> {
        let (server, kernels) = match &self.present().pair {
            Some(pair) => (pair.server.watch(), pair.kernels.watch()),
            None => return Err("no image has been asked for".into()),
        };
        nursery::settled(server).await?;
        nursery::settled(kernels).await
    }

    /// A server for the container of an image with these layers, which listens at `socket`; the error says why there is no
    /// zygote of it. `program` is the number of words that begin the command line and name the program.
    pub(crate) fn server_fork(
        &self,
        layers: &[PathBuf],
        server: &StartServer,
        program: usize,
        socket: &str,
        to: Destination,
    ) -> Result<Fork, String> {
        let zygote = self.of(layers, |pair| &pair.server)?;
        let takeover = Some(Request::new(Command::AdoptServer { log: server.log }));
        Fork::new(zygote, &Errand { server, program, socket, takeover, syncs: Syncs::new() }, to)
    }

    /// What forks the container's kernels in it. They are what its notebook server is, but for the secret.
    pub(crate) fn kernels_fork(
        &self,
        layers: &[PathBuf],
        server: &StartServer,
        to: Destination,
    ) -> Result<Fork, String> {
        let zygote = self.of(layers, |pair| &pair.kernels)?;
        let errand = Errand { server, program: 0, socket: KERNELS_SOCKET, takeover: None, syncs: Syncs::new() };
        Fork::new(zygote, &errand, to)
    }

    fn of(&self, layers: &[PathBuf], which: impl FnOnce(&Pair) -> &Nursery) -> Result<Arc<Zygote>, String> {
        if !self.allowed {
            return Err("zygotes are turned off".into());
        }
        match &self.present().pair {
            Some(pair) if pair.layers == layers => which(pair).take(),
            _ => Err("its image has no zygote".into()),
        }
    }
}
