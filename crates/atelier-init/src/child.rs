//! Starting the notebook server, and commands beside it.
//!
//! Between `fork` and `exec` the child gives up everything in the one order that works: first what needs rights
//! (the bounding set, the groups), then the user, then the rights themselves, then the filter, which also binds what
//! follows. A server's failure is told to the parent through a pipe that a successful `exec` closes. A command's goes to
//! its own standard error and becomes its exit code, as a shell does it: the parent may not wait for a program that the
//! notebook's user can make slow to open.

use std::ffi::{CString, c_char, c_ulong};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use atelier_init::protocol::{CANNOT_BEGIN, CANNOT_RUN, Exec, NOT_FOUND, SECRET_FD, StartServer};

use crate::system::{self, check};

/// A server that has been started.
pub(crate) struct Started {
    pub(crate) pid: i32,
    /// What it writes to its standard output and error.
    pub(crate) output: OwnedFd,
}

/// What a command reads and writes: 0, 1 and 2.
pub(crate) type Streams = [OwnedFd; 3];

/// Everything that the child needs, made before the fork.
struct Plan<'a> {
    /// Where the program may be; the first one that is there counts.
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    filters: Vec<Vec<libc::sock_filter>>,
    uid: u32,
    gid: u32,
    oom_score_adj: u16,
    secret: Option<&'a str>,
    streams: Streams,
    /// Whether the first of the streams is a terminal, to be the session's.
    terminal: bool,
}

type Step<T> = Result<T, (&'static str, io::Error)>;

/// Starts the server; returns when its program runs.
pub(crate) fn start(server: &StartServer) -> Result<Started, String> {
    let program = server.argv.first().filter(|p| p.starts_with('/'));
    let program = program.ok_or("`argv` must begin with an absolute path")?;
    let (output, output_end) = system::pipe().map_err(|e| format!("pipe: {e}"))?;
    let (failure, failure_end) = system::pipe().map_err(|e| format!("pipe: {e}"))?;
    system::set_nonblocking(&output).map_err(|e| format!("pipe: {e}"))?;
    let null = File::options().read(true).open("/dev/null").map_err(|e| format!("/dev/null: {e}"))?;
    let errors = output_end.try_clone().map_err(|e| format!("pipe: {e}"))?;
    let plan = Plan {
        programs: vec![c_string(program)?],
        argv: arguments(&server.argv)?,
        env: variables(&server.env)?,
        cwd: c_string(&server.cwd)?,
        filters: filters(&server.filters)?,
        uid: server.uid,
        gid: server.gid,
        oom_score_adj: server.oom_score_adj,
        secret: server.secret.as_deref(),
        streams: [null.into(), output_end, errors],
        terminal: false,
    };
    let pid = fork(&plan, |(step, error)| {
        let _ = write!(File::from(failure_end), "{step}: {error}");
        NOT_FOUND
    })?;
    drop(plan);
    wait_for_exec(failure, program).map(|()| Started { pid, output })
}

/// Starts a command; its process id.
pub(crate) fn exec(command: &Exec, streams: Streams) -> Result<i32, String> {
    let name = command.argv.first().filter(|name| !name.is_empty()).ok_or("`argv` must not be empty")?;
    let plan = Plan {
        programs: places(name, &command.env)?,
        argv: arguments(&command.argv)?,
        env: variables(&command.env)?,
        cwd: c_string(&command.cwd)?,
        filters: filters(&command.filters)?,
        uid: command.uid,
        gid: command.gid,
        oom_score_adj: command.oom_score_adj,
        secret: None,
        streams,
        terminal: command.terminal,
    };
    fork(&plan, |(step, error)| {
        let what = match step {
            "exec" => name,
            "cwd" => &command.cwd,
            other => other,
        };
        let _ = writeln!(io::stderr(), "atelier: `{what}`: {error}");
        match step {
            "exec" if error.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            "exec" | "cwd" => CANNOT_RUN,
            _ => CANNOT_BEGIN,
        }
    })
}

/// Where a program of this name may be: a path is one, everything else is looked for in `PATH`.
fn places(name: &str, env: &[(String, String)]) -> Result<Vec<CString>, String> {
    if name.contains('/') {
        return Ok(vec![c_string(name)?]);
    }
    let path = env.iter().find(|(key, _)| key == "PATH").map_or("/usr/local/bin:/usr/bin:/bin", |(_, path)| path);
    path.split(':')
        .map(|folder| c_string(&format!("{}/{name}", if folder.is_empty() { "." } else { folder })))
        .collect()
}

fn arguments(argv: &[String]) -> Result<Vec<CString>, String> {
    argv.iter().map(|argument| c_string(argument)).collect()
}

fn variables(env: &[(String, String)]) -> Result<Vec<CString>, String> {
    env.iter().map(|(key, value)| c_string(&format!("{key}={value}"))).collect()
}

fn filters(programs: &[String]) -> Result<Vec<Vec<libc::sock_filter>>, String> {
    programs.iter().map(|program| filter(program)).collect()
}

/// The child becomes what is planned, or ends with the code that `failed` answers.
fn fork(plan: &Plan<'_>, failed: impl FnOnce((&'static str, io::Error)) -> i32) -> Result<i32, String> {
    let become_it = || {
        let Err(failure) = prepare(plan).and_then(|()| replace(plan));
        failed(failure)
    };
    system::in_a_child(become_it).map_err(|e| format!("fork: {e}"))
}

fn wait_for_exec(failure: OwnedFd, program: &str) -> Result<(), String> {
    let mut why = String::new();
    File::from(failure).read_to_string(&mut why).map_err(|e| format!("pipe: {e}"))?;
    if why.is_empty() { Ok(()) } else { Err(format!("cannot start `{program}`: {why}")) }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("`{}` contains a NUL", text.replace('\0', "\\0")))
}

/// A pipe that already holds the secret and has no writer left: it can be read once.
fn secret_pipe(secret: &str) -> io::Result<OwnedFd> {
    let (read, write) = system::pipe()?;
    system::set_nonblocking(&write)?;
    File::from(write).write_all(secret.as_bytes())?;
    Ok(read)
}

/// Reads a seccomp program from its hexadecimal digits: eight bytes per instruction, as the kernel lays them out.
fn filter(hex: &str) -> Result<Vec<libc::sock_filter>, String> {
    let digits = hex.as_bytes();
    let byte = |at: usize| {
        let pair = digits.get(at * 2..at * 2 + 2).and_then(|d| std::str::from_utf8(d).ok());
        pair.and_then(|d| u8::from_str_radix(d, 16).ok()).ok_or("`filters` must be hexadecimal digits")
    };
    if digits.is_empty() || !digits.len().is_multiple_of(16) || digits.len() / 16 > usize::from(u16::MAX) {
        return Err("`filters` must be whole instructions of eight bytes".into());
    }
    let instruction = |n: usize| -> Result<libc::sock_filter, String> {
        let b = |i| byte(n * 8 + i);
        Ok(libc::sock_filter {
            code: u16::from_le_bytes([b(0)?, b(1)?]),
            jt: b(2)?,
            jf: b(3)?,
            k: u32::from_le_bytes([b(4)?, b(5)?, b(6)?, b(7)?]),
        })
    };
    (0..digits.len() / 16).map(instruction).collect()
}

/// In the child.
fn prepare(plan: &Plan<'_>) -> Step<()> {
    let named = |name| move |e| (name, e);
    // SAFETY: no pointers.
    check(unsafe { libc::setsid() }).map_err(named("setsid"))?;
    raise_oom_score(plan.oom_score_adj).map_err(named("oom_score_adj"))?;
    place_descriptors(plan).map_err(named("descriptors"))?;
    if plan.terminal {
        // SAFETY: no pointers; the argument asks for nothing to be taken from another session.
        check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map_err(named("terminal"))?;
    }
    become_user(plan.uid, plan.gid).map_err(named("user"))?;
    place_secret(plan.secret).map_err(named("secret"))?;
    reset_signals().map_err(named("signals"))?;
    // SAFETY: no pointers but that of a live string that ends in NUL.
    unsafe {
        libc::umask(0o022);
        check(libc::chdir(plan.cwd.as_ptr())).map_err(named("cwd"))?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)).map_err(named("no_new_privs"))?;
    }
    plan.filters.iter().try_for_each(|f| install(f)).map_err(named("seccomp"))
}

/// A process that hides from ptrace cannot write its own file; this one becomes an ordinary one at `exec` anyway.
fn raise_oom_score(score: u16) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) })?;
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
}

fn put(fd: RawFd, at: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; descriptors of ours lie above every `at`, so nothing needed is overwritten.
    check(unsafe { libc::dup2(fd, at) }).map(drop)
}

/// Everything above the first three is closed by `exec`.
fn place_descriptors(plan: &Plan<'_>) -> io::Result<()> {
    for (stream, at) in plan.streams.iter().zip(0..) {
        put(stream.as_raw_fd(), at)?;
    }
    // SAFETY: no pointers.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, SECRET_FD, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Made by the user itself: who opens a pipe by its name in `/proc` has to own it.
fn place_secret(secret: Option<&str>) -> io::Result<()> {
    match secret {
        Some(secret) => put(secret_pipe(secret)?.as_raw_fd(), SECRET_FD),
        None => Ok(()),
    }
}

fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // The bounding set ends where the kernel knows no further capability.
    // SAFETY: no pointers.
    for capability in (0_u32..64).take_while(|c| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *c, 0, 0, 0) } >= 0) {
        // SAFETY: no pointers.
        check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability), 0, 0, 0) })?;
    }
    // SAFETY: an empty list of groups needs no memory; the others take no pointers.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))?;
    }
    drop_capabilities()
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// Changing the user drops them too, but only from root; this does not depend on where we came from.
fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: version 3 reads one header and two triples of numbers; both live across the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn reset_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action is no pointer to code of ours. Some signals cannot be set; theirs is default.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero set is empty on Linux; the pointers are to live locals.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())).map(drop)
    }
}

fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = system::described(filter)?;
    // SAFETY: the kernel copies `len` instructions from a live slice and writes nothing.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) }).map(drop)
}

/// Of several places, one that is not there counts only when no other says more.
fn replace(plan: &Plan<'_>) -> Step<std::convert::Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, env) = (pointers(&plan.argv), pointers(&plan.env));
    let mut failure = io::Error::from_raw_os_error(libc::ENOENT);
    for program in &plan.programs {
        // SAFETY: both lists end in null and point to strings that live in `plan`.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let error = io::Error::last_os_error();
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            failure = error;
        }
    }
    Err(("exec", failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_whole_instructions() {
        let program = filter("060000000000ff7f").unwrap();
        assert_eq!((program.len(), program[0].code, program[0].k), (1, 6, 0x7fff_0000));
        for wrong in ["", "06", "060000000000ff7g", "060000000000ff7f06"] {
            assert!(filter(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_name_is_looked_for_in_the_path_and_a_path_is_not() {
        let env = [("PATH".to_owned(), "/a:/b:".to_owned())];
        let found =
            |name| places(name, &env).unwrap().into_iter().map(|p| p.into_string().unwrap()).collect::<Vec<_>>();
        assert_eq!(found("ls"), ["/a/ls", "/b/ls", "./ls"]);
        assert_eq!(found("./ls"), ["./ls"]);
        assert!(places("ls", &[]).unwrap().contains(&c"/bin/ls".to_owned()));
    }

    #[test]
    fn a_secret_can_be_read_once() {
        let mut pipe = File::from(secret_pipe("s3cret").unwrap());
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        assert_eq!(text, "s3cret");
        assert_eq!(pipe.read(&mut [0; 8]).unwrap(), 0);
    }
}
