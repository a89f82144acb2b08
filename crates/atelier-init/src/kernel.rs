//! The beginning of a kernel that is started: `kernel PROGRAM [WORD...]` gets a control group of its own and becomes the
//! program. It is the same process, so whoever started it sees nothing of this.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use atelier_init::protocol::{FOLDER, GROUPS_SOCKET, KERNEL_OOM_SCORE};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// How long a kernel waits for a group, of a server that hangs: one that is not there refuses at once. Without a group it
/// runs within the notebook's limits all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a shell says of a program that is not there.
const NOT_FOUND: u8 = 127;

pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = words.next() else {
        eprintln!("a program must be named");
        return ExitCode::FAILURE;
    };
    let _ = enter_a_group(&Path::new(FOLDER).join(GROUPS_SOCKET));
    let _ = fs::write("/proc/self/oom_score_adj", KERNEL_OOM_SCORE);
    let error = Command::new(&program).args(words).exec();
    eprintln!("`{}`: {error}", program.display());
    ExitCode::from(NOT_FOUND)
}

/// Nobody may be there, or hang: that is no reason to wait for long.
fn enter_a_group(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let asking = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&asking, &SocketAddrUnix::new(path)?)?;
    let mut asking = UnixStream::from(asking);
    asking.set_nonblocking(false)?;
    asking.set_read_timeout(Some(PATIENCE))?;
    asking.read(&mut [0; 16]).map(drop)
}
