//! One build: from an empty stage to an entry in the cache, or to a reason.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::cache::{BuildLock, Entry};
use super::manifest::{self, Manifest};
use super::progress::Progress;
use super::recipe::Recipe;
use super::{ImageError, redact};

/// How many lines of the recipe's output are kept for the case of a failure.
const TAIL: usize = 60;

/// Builds while it holds the lock. Afterwards there is an entry, or a reason, and nothing else of the build.
pub(super) async fn build(entry: Entry, recipe: Recipe, key: String, lock: BuildLock) -> Result<(), ImageError> {
    let mut tail = Tail::default();
    let built = attempt(&entry, &recipe, &key, &mut tail).await;
    if let Err(error) = &built {
        let reason = match error {
            ImageError::Failed { reason } => reason.clone(),
            other => other.to_string(),
        };
        tracing::error!(key, reason, "building the image failed");
        if let Err(e) = entry.record_failure(&reason, &tail.text()) {
            tracing::error!("the reason could not be kept: {e}");
        }
    }
    if let Err(e) = remove(entry.stage()).await.and_then(|()| entry.clear_progress()) {
        tracing::warn!("the remains of a build are left for the next one: {e}");
    }
    drop(lock);
    built
}

async fn attempt(entry: &Entry, recipe: &Recipe, key: &str, tail: &mut Tail) -> Result<(), ImageError> {
    let leftovers = entry.clone();
    // What a dead builder has started may still be dying in its namespace.
    patiently(move || leftovers.remove_leftovers()).await.map_err(|e| ImageError::io("remove an earlier build", e))?;
    let stage = entry.stage();
    prepare(&stage, recipe).map_err(|e| ImageError::io(format!("prepare `{}`", stage.display()), e))?;
    follow(entry, recipe, key, &stage, tail).await?;
    let (entry, recipe, key) = (entry.clone(), recipe.clone(), key.to_owned());
    blocking(move || finish(&entry, &recipe, &key)).await.map_err(|e| ImageError::io("finish the image", e))
}

fn prepare(stage: &Path, recipe: &Recipe) -> io::Result<()> {
    folder(stage)?;
    folder(&stage.join("layers"))?;
    for (name, content) in &recipe.files {
        write_below(&stage.join("recipe"), name, content)?;
    }
    recipe.host_files.iter().try_for_each(|(name, content)| write_below(&stage.join("host"), name, content))
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_below(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap_or(folder))?;
    fs::write(path, content)
}

/// Runs the recipe and passes on what it says.
async fn follow(e: &Entry, recipe: &Recipe, key: &str, stage: &Path, tail: &mut Tail) -> Result<(), ImageError> {
    let mut child = spawn(recipe, key, stage).map_err(|e| ImageError::io("start the recipe", e))?;
    // Waiting would close it.
    let life = child.stdin.take();
    let mut step = String::from("starting");
    if let Some(output) = child.stdout.take() {
        read_lines(output, e, &mut step, tail).await.map_err(|e| ImageError::io("read what the recipe says", e))?;
    }
    let status = child.wait().await.map_err(|e| ImageError::io("wait for the recipe", e))?;
    drop(life);
    if status.success() { Ok(()) } else { Err(ImageError::Failed { reason: tail.reason(&step, status) }) }
}

/// The child's standard input stays open as long as the child is in use here: its end is the sign that the builder has
/// died, whatever way. Both outputs come as one, in order.
fn spawn(recipe: &Recipe, key: &str, stage: &Path) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$@\" 2>&1", "recipe"]).args(recipe.command_for(stage));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
    command.env("ATELIER_RECIPE", key).envs(recipe.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()
}

async fn read_lines(
    output: impl AsyncRead + Unpin,
    entry: &Entry,
    step: &mut String,
    tail: &mut Tail,
) -> io::Result<()> {
    let mut output = BufReader::new(output);
    let mut progress = Progress::default();
    let mut bytes = Vec::new();
    while output.read_until(b'\n', &mut bytes).await? > 0 {
        let line = redact::line(String::from_utf8_lossy(&bytes).trim_end());
        if let Some(text) = progress.line(&line) {
            tracing::debug!("building the image: {text}");
            entry.set_progress(&text)?;
            *step = text;
        }
        tail.push(line);
        bytes.clear();
    }
    Ok(())
}

fn finish(entry: &Entry, recipe: &Recipe, key: &str) -> io::Result<()> {
    let stage = entry.stage();
    manifest::layers(&stage)?;
    fs::remove_dir_all(stage.join("recipe"))?;
    if !recipe.host_files.is_empty() {
        fs::remove_dir_all(stage.join("host"))?;
    }
    let size = manifest::size_on_disk(&stage.join("layers"))?;
    Manifest::new(recipe, key, size).write(&stage)?;
    entry.publish()
}

async fn remove(path: PathBuf) -> io::Result<()> {
    patiently(move || match fs::remove_dir_all(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
    .await
}

/// Tries again for a while: what is removed may be in use by processes that are being killed.
async fn patiently(work: impl Fn() -> io::Result<()> + Clone + Send + 'static) -> io::Result<()> {
    for _ in 0..50 {
        if blocking(work.clone()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    blocking(work).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The end of the recipe's output.
#[derive(Debug, Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: String) {
        if self.0.len() == TAIL {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    fn text(&self) -> String {
        self.0.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// The step, and the line that most likely says why it failed: the first error, because those that follow it are
    /// about what did not happen then.
    fn reason(&self, step: &str, status: ExitStatus) -> String {
        let lines = || self.0.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
        let telling = |line: &&str| ["E: ", "ERROR: ", "error: "].iter().any(|mark| line.starts_with(mark));
        match lines().find(telling).or_else(|| lines().next_back()) {
            Some(line) => format!("{step}: {line} ({status})"),
            None => format!("{step}: {status}"),
        }
    }
}
