//! The notebook server's output, in files of bounded size.
//!
//! The server writes into a pipe; only this process writes the files, so that they can be rotated without the
//! server's help and nobody in the notebook can change what they say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use atelier_init::protocol::{EXIT_FILE, Ended, LOG_FILE, LogLimits};

/// Read in one turn of the loop at most, so that a server that writes without end cannot keep the loop.
const PER_TURN: usize = 256 * 1024;

/// Where a server's output goes.
pub(crate) struct Log {
    path: PathBuf,
    limits: LogLimits,
    source: Option<File>,
    file: Option<File>,
    written: u64,
}

impl Log {
    pub(crate) fn new(folder: &Path) -> Self {
        let limits = LogLimits { file_bytes: 0, files: 1 };
        Self { path: folder.join(LOG_FILE), limits, source: None, file: None, written: 0 }
    }

    /// Takes the output of a new server; what an earlier one's children still say is not waited for.
    pub(crate) fn follow(&mut self, output: OwnedFd, limits: LogLimits) {
        self.limits = limits;
        self.source = Some(output.into());
    }

    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(File::as_fd)
    }

    /// Moves what there is from the pipe to the file. A file that cannot be written loses lines, never the server:
    /// the pipe is emptied all the same.
    pub(crate) fn pump(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let mut taken = 0;
        while taken < PER_TURN {
            let Some(source) = self.source.as_mut() else { return };
            match source.read(&mut buffer) {
                Ok(0) => self.source = None,
                Ok(n) => {
                    taken += n;
                    if self.append(&buffer[..n]).is_err() {
                        self.file = None;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.source = None,
            }
        }
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
        assert!(log.source().is_some());
        drop(write);
        log.pump();
        assert!(log.source().is_none());
    }
}
