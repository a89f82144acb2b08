//! One end of a copy, within the container and with nothing but the rights of ma-user: `send PATH` writes a stream of files
//! to stdout, `receive PATH [NAME]` reads one from stdin.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use atelier_init::archive;

pub(crate) fn run(task: &OsStr, mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(path), name) = (words.next(), words.next()) else { return failed("a path must be named") };
    let path = Path::new(&path);
    let mut say = |path: &Path, why: &str| eprintln!("`{}` is left out: {why}", path.display());
    let done = match task.to_str() {
        Some("send") => archive::send(path, io::BufWriter::new(io::stdout()), &mut say),
        Some("receive") => archive::place(path, name.as_deref())
            .and_then(|to| archive::receive(io::BufReader::new(io::stdin()), &to, &mut say)),
        _ => return failed("the task must be `send` or `receive`"),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => failed(&format!("`{}`: {e}", path.display())),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
