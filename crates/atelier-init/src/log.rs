//! The output of the notebook server and of the hooks, in files of bounded size.
//!
//! They write into pipes; only this process writes the files, so that they can be rotated without anybody's help and
//! nobody in the notebook can change what they say. What a hook says is written line by line, each with its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use atelier_init::protocol::{EXIT_FILE, Ended, LOG_FILE, LogLimits};

/// Read from one source in one turn of the loop at most, so that one that writes without end cannot keep the loop.
const PER_TURN: usize = 256 * 1024;
/// A line of a hook that grows longer is written as it is.
const MOST_LINE: usize = 8 * 1024;
/// How much of what a hook said last is remembered.
const MOST_SAID: usize = 2 * 1024;

/// Where output comes from, and goes to.
pub(crate) struct Log {
    files: Files,
    server: Option<File>,
    hooks: Vec<Voice>,
}

impl Log {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { files: Files::new(folder.join(LOG_FILE)), server: None, hooks: Vec::new() }
    }

    /// Takes the output of a new server; what an earlier one's children still say is not waited for.
    pub(crate) fn follow(&mut self, output: OwnedFd, limits: LogLimits) {
        self.files.limits = limits;
        self.server = Some(output.into());
    }

    /// Takes the output of a hook, also what its children say when it has ended.
    pub(crate) fn follow_hook(&mut self, name: &str, output: OwnedFd) {
        let source = Some(output.into());
        self.hooks.push(Voice { name: name.to_owned(), source, line: Vec::new(), said: Vec::new() });
    }

    /// How much is kept.
    pub(crate) fn limit(&mut self, limits: LogLimits) {
        self.files.limits = limits;
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.server.iter().chain(self.hooks.iter().filter_map(|hook| hook.source.as_ref())).map(File::as_fd)
    }

    /// Moves what there is from the pipes to the file. A file that cannot be written loses lines, never the server:
    /// the pipes are emptied all the same.
    pub(crate) fn pump(&mut self) {
        if self.server.as_mut().is_some_and(|server| !drain(server, |bytes| self.files.write(bytes))) {
            self.server = None;
        }
        for hook in &mut self.hooks {
            hook.pump(&mut self.files);
        }
    }

    /// A line of the init's own about a hook.
    pub(crate) fn note(&mut self, hook: &str, text: &str) {
        self.files.line(hook, text.as_bytes());
    }

    /// The last of what a hook has said until now.
    pub(crate) fn said(&mut self, name: &str) -> String {
        let Some(hook) = self.hooks.iter_mut().find(|hook| hook.name == name) else { return String::new() };
        hook.pump(&mut self.files);
        hook.end_line(&mut self.files);
        String::from_utf8_lossy(&hook.said).into_owned()
    }
}

/// What one hook says.
struct Voice {
    name: String,
    source: Option<File>,
    /// The line that has not ended yet.
    line: Vec<u8>,
    said: Vec<u8>,
}

impl Voice {
    fn pump(&mut self, files: &mut Files) {
        let Some(mut source) = self.source.take() else { return };
        if drain(&mut source, |bytes| self.take(bytes, files)) {
            self.source = Some(source);
        } else {
            self.end_line(files);
        }
    }

    fn take(&mut self, bytes: &[u8], files: &mut Files) {
        self.said.extend_from_slice(bytes);
        let too_much = self.said.len().saturating_sub(MOST_SAID);
        self.said.drain(..too_much);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= MOST_LINE {
                self.end_line(files);
            }
        }
    }

    fn end_line(&mut self, files: &mut Files) {
        if !self.line.is_empty() {
            files.line(&self.name, self.line.strip_suffix(b"\n").unwrap_or(&self.line));
            self.line.clear();
        }
    }
}

/// Gives what can be read now to `each`; whether there may be more later.
fn drain(source: &mut File, mut each: impl FnMut(&[u8])) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut taken = 0;
    while taken < PER_TURN {
        match source.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => {
                taken += n;
                each(&buffer[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// The files.
struct Files {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    written: u64,
    /// Whether the last byte that was written ends a line.
    at_line_start: bool,
}

impl Files {
    fn new(path: PathBuf) -> Self {
        let limits = LogLimits { file_bytes: 0, files: 1 };
        Self { path, limits, file: None, written: 0, at_line_start: true }
    }

    fn line(&mut self, hook: &str, text: &[u8]) {
        let break_before: &[u8] = if self.at_line_start { b"" } else { b"\n" };
        self.write(&[break_before, b"[", hook.as_bytes(), b"] ", text, b"\n"].concat());
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.append(bytes).is_err() {
            self.file = None;
        }
        self.at_line_start = bytes.ends_with(b"\n");
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.written >= self.limits.file_bytes {
            self.file = None;
            self.rotate()?;
        }
        if self.file.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.written = file.metadata()?.len();
            self.file = Some(file);
        }
        if let Some(file) = self.file.as_mut() {
            file.write_all(bytes)?;
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        if self.limits.files < 2 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.limits.files - 1).rev() {
            let _ = fs::rename(self.numbered(n), self.numbered(n + 1));
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

/// Writes how the server ended, whole or not at all.
pub(crate) fn write_exit(folder: &Path, ended: &Ended) -> io::Result<()> {
    let fresh = folder.join("exit.new");
    fs::write(&fresh, serde_json::to_vec(ended)?)?;
    fs::rename(fresh, folder.join(EXIT_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("atelier-init-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("log")).unwrap();
        folder
    }

    fn say(log: &mut Log, into: &mut File, text: &str) {
        into.write_all(text.as_bytes()).unwrap();
        log.pump();
    }

    #[test]
    fn output_is_kept_in_two_files_of_bounded_size() {
        let folder = folder("rotation");
        let (read, write) = system::pipe().unwrap();
        system::set_nonblocking(&read).unwrap();
        let mut log = Log::new(&folder);
        log.follow(read, LogLimits { file_bytes: 4, files: 2 });
        let mut write = File::from(write);
        for text in ["one\n", "two\n", "three\n"] {
            say(&mut log, &mut write, text);
        }
        let read = |name: &str| fs::read_to_string(folder.join("log").join(name));
        assert_eq!(read("server.log").unwrap(), "three\n");
        assert_eq!(read("server.log.1").unwrap(), "two\n");
        assert!(read("server.log.2").is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unwritable_log_does_not_stop_the_server() {
        let (read, write) = system::pipe().unwrap();
        system::set_nonblocking(&read).unwrap();
        let mut log = Log::new(Path::new("/proc/none"));
        log.follow(read, LogLimits { file_bytes: 4, files: 2 });
        let mut write = File::from(write);
        say(&mut log, &mut write, "lost\n");
        assert_eq!(log.sources().count(), 1);
        drop(write);
        log.pump();
        assert_eq!(log.sources().count(), 0);
    }
    #[test]
    fn what_a_hook_says_is_written_in_whole_lines_with_its_name_and_its_end_is_remembered() {
        let folder = folder("hook");
        let pipe = || {
            let (read, write) = system::pipe().unwrap();
            system::set_nonblocking(&read).unwrap();
            (read, File::from(write))
        };
        let limits = LogLimits { file_bytes: 1 << 20, files: 2 };
        let ((server, mut server_says), (hook, mut hook_says)) = (pipe(), pipe());
        let mut log = Log::new(&folder);
        log.limit(limits);
        log.follow_hook("pre_start", hook);
        say(&mut log, &mut hook_says, "one\ntw");
        log.follow(server, limits);
        say(&mut log, &mut server_says, "half a line");
        say(&mut log, &mut hook_says, "o\n");
        say(&mut log, &mut hook_says, "the end");
        assert_eq!(log.said("pre_start"), "one\ntwo\nthe end");
        log.note("pre_start", "ended");
        // A child of the hook goes on, and says more than is remembered.
        let much = "x".repeat(MOST_LINE + MOST_SAID);
        say(&mut log, &mut hook_says, &much);
        assert_eq!(log.said("pre_start"), "x".repeat(MOST_SAID));
        let expected = format!(
            "[pre_start] one\nhalf a line\n[pre_start] two\n[pre_start] the end\n[pre_start] ended\n[pre_start] {much}\n"
        );
        assert_eq!(fs::read_to_string(folder.join("log/server.log")).unwrap(), expected);
        fs::remove_dir_all(folder).unwrap();
    }
}
