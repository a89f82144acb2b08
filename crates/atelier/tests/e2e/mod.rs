//! Processes that tests start, and that end with them, also when a test fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take before a test gives up on it. Nothing is slower when this is longer.
const PATIENCE: Duration = Duration::from_mins(2);

/// The program with a home of its own: nothing of the machine's user, no server of somebody else's.
pub(crate) fn command(home: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ATELIER_")) {
        command.env_remove(name);
    }
    command
        .args(line)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("ATELIER_LOCAL__CACHE_DIR", home.join("cache"))
        .env("ATELIER_SERVER__DATA_DIR", home.join("data"))
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn atelier(home: &Path, line: &[&str]) -> Output {
    command(home, line).output().unwrap()
}

/// Runs the program to its end, with something on stdin.
pub(crate) fn atelier_with(home: &Path, line: &[&str], variables: &[(&str, &str)], stdin: &str) -> Output {
    let mut command = command(home, line);
    command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout_of(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr_of(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn json_of(output: &Output) -> Value {
    serde_json::from_str(&stdout_of(output)).unwrap()
}

/// A child whose lines on one stream are collected, and that does not outlive this value.
struct Watched {
    child: Child,
    lines: Receiver<String>,
    text: Arc<Mutex<String>>,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let text = Arc::new(Mutex::new(String::new()));
        let (send, lines) = channel();
        let collected = text.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                collected.lock().unwrap().extend([&line, "\n"]);
                let _ = send.send(line);
            }
        });
        Self { child, lines, text }
    }

    fn wait_for(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with `{part}`:\n{}", self.text.lock().unwrap()));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, once the process has ended and all its lines are here.
    fn wait(&mut self) -> Option<i32> {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with the simulated runtime.
pub(crate) struct Server {
    home: tempfile::TempDir,
    variables: Vec<(String, String)>,
    process: Watched,
    url: String,
}

impl Server {
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut set = vec![("ATELIER_LIMITS__REQUESTS_PER_SECOND".to_owned(), "100000".to_owned())];
        set.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (process, url) = Self::spawn(home.path(), &set);
        Self { home, variables: set, process, url }
    }

    fn spawn(home: &Path, variables: &[(String, String)]) -> (Watched, String) {
        let mut command = command(home, &["serve", "--listen", "127.0.0.1:0", "--runtime", "simulated"]);
        command.envs(variables.iter().cloned()).stdout(Stdio::null());
        let process = Watched::start(command);
        let line = process.wait_for("listening on ");
        (process, line.split("listening on ").nth(1).unwrap().trim().to_owned())
    }

    /// Starts anew on the same folder.
    pub(crate) fn restart(&mut self) {
        (self.process, self.url) = Self::spawn(self.home.path(), &self.variables);
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub(crate) fn data_dir(&self) -> String {
        self.home.path().join("data").display().to_string()
    }

    pub(crate) fn admin(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.home.path().join("data/admin.json")).unwrap()).unwrap()
    }

    pub(crate) fn mode(&self, file: &str) -> u32 {
        std::fs::metadata(self.home.path().join("data").join(file)).unwrap().permissions().mode() & 0o7777
    }

    pub(crate) fn cli(&self, line: &[&str]) -> Output {
        atelier(self.home.path(), line)
    }

    /// Everything that it has said since its start.
    pub(crate) fn log(&self) -> String {
        self.process.text.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, part: &str) {
        self.process.wait_for(part);
    }

    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait()
    }

    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.wait()
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub(crate) fn raw(&self, request: &str) -> String {
        self.begin(request).finish("")
    }

    /// Sends the beginning of a request.
    pub(crate) fn begin(&self, part: &str) -> Half {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port().parse().unwrap())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(part.as_bytes()).unwrap();
        Half(stream)
    }
}

/// A request that has not been sent whole.
pub(crate) struct Half(TcpStream);

impl Half {
    /// Reads exactly this.
    pub(crate) fn expect(&mut self, wanted: &str) {
        let mut got = vec![0; wanted.len()];
        self.0.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), wanted);
    }

    pub(crate) fn finish(&mut self, rest: &str) -> String {
        self.0.write_all(rest.as_bytes()).unwrap();
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// `atelier up`, which stays.
pub(crate) struct Up {
    process: Watched,
    url: String,
}

impl Up {
    pub(crate) fn start(home: &Path, settings: &[&str]) -> Self {
        let mut command = command(home, &[&["up"], settings].concat());
        command.stdout(Stdio::piped());
        let mut process = Watched::start(command);
        let mut url = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(!url.is_empty(), "{}", process.text.lock().unwrap());
        process.wait_for("Ctrl-C");
        Self { process, url: url.trim().to_owned() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ctrl-C: the exit code and everything that was said.
    pub(crate) fn interrupt(&mut self) -> (Option<i32>, String) {
        self.process.signal(Signal::INT);
        let code = self.process.wait();
        (code, self.process.text.lock().unwrap().clone())
    }
}
