//! Files and folders on their way between two machines that do not trust each other.
//!
//! The stream is a list of records, folders before what is in them, closed by a record of its own: one that breaks off is
//! never taken for a whole one. A record is what the thing is, its mode, its time, its path below the thing that is copied, and
//! the target of a link; a file's bytes follow in pieces, and the word of the sender that they are all of them.
//!
//! Whoever receives believes nothing. Paths have plain names only; no link is ever followed below the place where the copy
//! comes to be, neither one that was there before nor one that came with the copy; links that lead out of the copy are left
//! out; what is no file, folder or link is refused; modes lose the bits that lend rights. A file is written beside its
//! name and takes it when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, futimens, mkdirat, openat, openat2,
    renameat, symlinkat, unlinkat,
};
use rustix::io::Errno;

/// What a stream begins with.
const BEGINNING: &[u8; 8] = b"atelier1";
/// The longest piece of a file, and the longest path.
const MOST_PIECE: usize = 64 * 1024;
const MOST_PATH: usize = 4096;
/// In place of a piece's length: that was all, and that was not all.
const WHOLE: u32 = 0;
const BROKEN: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    File,
    Folder,
    Link,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    kind: Kind,
    mode: u32,
    seconds: i64,
    nanos: u32,
    /// Below the thing that is copied; empty for that itself.
    path: PathBuf,
    /// Where a link leads.
    target: PathBuf,
}

/// Is told what is left out, and why.
pub type Say<'a> = &'a mut dyn FnMut(&Path, &str);

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

impl Record {
    fn of(kind: Kind, path: &Path, about: &fs::Metadata) -> Self {
        Self {
            kind,
            mode: about.mode() & 0o777,
            seconds: about.mtime(),
            nanos: u32::try_from(about.mtime_nsec()).unwrap_or(0),
            path: path.to_owned(),
            target: PathBuf::new(),
        }
    }

    const fn end() -> Self {
        Self { kind: Kind::End, mode: 0, seconds: 0, nanos: 0, path: PathBuf::new(), target: PathBuf::new() }
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let kind = match self.kind {
            Kind::End => 0_u8,
            Kind::File => 1,
            Kind::Folder => 2,
            Kind::Link => 3,
        };
        to.write_all(&[kind])?;
        to.write_all(&self.mode.to_be_bytes())?;
        to.write_all(&self.seconds.to_be_bytes())?;
        to.write_all(&self.nanos.to_be_bytes())?;
        for path in [&self.path, &self.target] {
            let bytes = path.as_os_str().as_bytes();
            let length = u16::try_from(bytes.len()).map_err(|_| wrong("its path is too long"))?;
            to.write_all(&length.to_be_bytes())?;
            to.write_all(bytes)?;
        }
        Ok(())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let kind = match take::<1>(from)? {
            [0] => Kind::End,
            [1] => Kind::File,
            [2] => Kind::Folder,
            [3] => Kind::Link,
            _ => return Err(wrong("the stream holds something that is no file, folder or link")),
        };
        Ok(Self {
            kind,
            mode: u32::from_be_bytes(take(from)?) & 0o777,
            seconds: i64::from_be_bytes(take(from)?),
            nanos: u32::from_be_bytes(take(from)?).min(999_999_999),
            path: path(from)?,
            target: path(from)?,
        })
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn path(from: &mut impl Read) -> io::Result<PathBuf> {
    let length = usize::from(u16::from_be_bytes(take(from)?));
    if length > MOST_PATH {
        return Err(wrong("the stream holds a path that is too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

/// Sends a file or a folder. What cannot be read is left out, and said; an error is one of the stream. Whether all was sent.
pub fn send(from: &Path, mut to: impl Write, say: Say<'_>) -> io::Result<bool> {
    let mut sender = Sender { to: &mut to, say, whole: true };
    // Whoever names a link means what it leads to.
    let about = fs::metadata(from)?;
    sender.to.write_all(BEGINNING)?;
    sender.one(from, Path::new(""), &about)?;
    let whole = sender.whole;
    Record::end().write(&mut to)?;
    to.flush()?;
    Ok(whole)
}

/// Sends what `from` holds as a file.
pub fn send_bytes(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    to.write_all(BEGINNING)?;
    Record { kind: Kind::File, mode: 0o644, seconds: i64::MIN, ..Record::end() }.write(&mut to)?;
    pieces(&mut from, &mut to)??;
    Record::end().write(&mut to)?;
    to.flush()
}

/// The outer error is one of the stream, the inner one of what is read.
fn pieces(from: &mut impl Read, to: &mut impl Write) -> io::Result<io::Result<()>> {
    let mut piece = vec![0; MOST_PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(length) => {
                to.write_all(&u32::try_from(length).unwrap_or(BROKEN).to_be_bytes())?;
                to.write_all(&piece[..length])?;
                if length == 0 {
                    return Ok(Ok(()));
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                to.write_all(&BROKEN.to_be_bytes())?;
                return Ok(Err(e));
            }
        }
    }
}

struct Sender<'a, W> {
    to: &'a mut W,
    say: Say<'a>,
    whole: bool,
}

impl<W: Write> Sender<'_, W> {
    /// It is not sent; the stream goes on.
    #[expect(clippy::unnecessary_wraps, reason = "it is the last word on whatever is sent")]
    fn left_out(&mut self, path: &Path, why: &str) -> io::Result<()> {
        self.whole = false;
        (self.say)(path, why);
        Ok(())
    }

    fn one(&mut self, from: &Path, path: &Path, about: &fs::Metadata) -> io::Result<()> {
        if path.as_os_str().len() > MOST_PATH {
            return self.left_out(from, "its path is too long");
        }
        if about.is_dir() {
            return self.folder(from, path, about);
        }
        if about.is_symlink() {
            return match fs::read_link(from) {
                Ok(target) => Record { target, ..Record::of(Kind::Link, path, about) }.write(self.to),
                Err(e) => self.left_out(from, &e.to_string()),
            };
        }
        // Neither waits for the other end of a pipe, nor is led elsewhere by a link that has come since.
        let flags =
            (OFlags::NONBLOCK | if path.as_os_str().is_empty() { OFlags::empty() } else { OFlags::NOFOLLOW }).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(from);
        match file.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((about, mut file)) if about.is_file() => {
                Record::of(Kind::File, path, &about).write(self.to)?;
                match pieces(&mut file, self.to)? {
                    Ok(()) => Ok(()),
                    Err(e) => self.left_out(from, &e.to_string()),
                }
            }
            Ok(_) => self.left_out(from, "it is no file, folder or link"),
            Err(e) => self.left_out(from, &e.to_string()),
        }
    }

    fn folder(&mut self, from: &Path, path: &Path, about: &fs::Metadata) -> io::Result<()> {
        Record::of(Kind::Folder, path, about).write(self.to)?;
        let entries = fs::read_dir(from).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(e) => return self.left_out(from, &e.to_string()),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            match entry.metadata() {
                Ok(about) => self.one(&entry.path(), &path.join(entry.file_name()), &about)?,
                Err(e) => self.left_out(&entry.path(), &e.to_string())?,
            }
        }
        Ok(())
    }
}

/// Where something called `name` comes to be that is copied to `to`: in a folder that is there, or by that very name.
pub fn place(to: &Path, name: Option<&std::ffi::OsStr>) -> io::Result<PathBuf> {
    match (to.is_dir(), name) {
        (true, Some(name)) => Ok(to.join(name)),
        (true, None) => Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder; name a file")),
        (false, _) if to.as_os_str().as_bytes().ends_with(b"/") => {
            Err(io::Error::new(ErrorKind::NotFound, "there is no such folder"))
        }
        (false, _) => Ok(to.to_owned()),
    }
}

/// Receives a file or a folder, which is `to` afterwards. What is left out is said; whether all was received.
pub fn receive(mut from: impl Read, to: &Path, say: Say<'_>) -> io::Result<bool> {
    let name = to.file_name().ok_or_else(|| wrong("the destination must have a name"))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, parent, flags, Mode::empty())
        .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("`{}`: {e}", parent.display())))?;
    begin(&mut from)?;
    let mut receiver = Receiver { root, top: name.into(), say, whole: true, folders: Vec::new(), count: 0 };
    loop {
        let record = Record::read(&mut from).map_err(|e| broken_off(&e, "the stream"))?;
        if record.kind == Kind::End {
            receiver.finish_folders();
            return Ok(receiver.whole);
        }
        receiver.one(&record, &mut from)?;
    }
}

/// Receives a file, and writes what it holds.
pub fn receive_bytes(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    begin(&mut from)?;
    let record = Record::read(&mut from)?;
    if record.kind != Kind::File {
        return Err(wrong("it is no file"));
    }
    while let Some(piece) = next_piece(&mut from)? {
        to.write_all(&piece)?;
    }
    to.flush()?;
    match Record::read(&mut from)?.kind {
        Kind::End => Ok(()),
        _ => Err(wrong("the stream holds more than one file")),
    }
}

fn begin(from: &mut impl Read) -> io::Result<()> {
    match take(from) {
        Ok(said) if &said == BEGINNING => Ok(()),
        Ok(_) => Err(wrong("this is no stream of files")),
        Err(e) => Err(broken_off(&e, "the stream")),
    }
}

fn broken_off(error: &io::Error, what: &str) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, format!("{what} broke off")),
        kind => io::Error::new(kind, format!("{what}: {error}")),
    }
}

/// The next piece of a file; `None` at its end.
fn next_piece(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let length = match u32::from_be_bytes(take(from)?) {
        WHOLE => return Ok(None),
        BROKEN => return Err(io::Error::other("the sender could not read all of it")),
        length => length as usize,
    };
    if length > MOST_PIECE {
        return Err(wrong("the stream holds a piece that is too long"));
    }
    let mut piece = vec![0; length];
    from.read_exact(&mut piece)?;
    Ok(Some(piece))
}

struct Receiver<'a> {
    /// The folder in which the copy comes to be.
    root: OwnedFd,
    /// What the copy is called there.
    top: PathBuf,
    say: Say<'a>,
    whole: bool,
    /// Folders that were made here, to get their modes and times when nothing is written into them any more.
    folders: Vec<(PathBuf, Record)>,
    /// Files that were begun.
    count: u64,
}

impl Receiver<'_> {
    fn one(&mut self, record: &Record, from: &mut impl Read) -> io::Result<()> {
        if !record.path.components().all(|part| matches!(part, Component::Normal(_))) || has_odd_form(&record.path) {
            return Err(wrong(format!(
                "the stream holds the path `{}`, which could lead elsewhere",
                record.path.display()
            )));
        }
        let path = if record.path.as_os_str().is_empty() { self.top.clone() } else { self.top.join(&record.path) };
        let named = |e: io::Error| broken_off(&e, &format!("`{}`", path.display()));
        match record.kind {
            Kind::Folder => self.folder(&path, record).map_err(named),
            Kind::Link => self.link(&path, record).map_err(named),
            Kind::File => self.file(&path, record, from).map_err(named),
            Kind::End => Ok(()),
        }
    }

    /// The folder that something is in, reached without following any link, and its name there.
    fn beside<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p std::ffi::OsStr)> {
        let name = path.file_name().ok_or_else(|| wrong("it has no name"))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        Ok((self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), below).map_err(|e| match e
        {
            Errno::LOOP | Errno::NOTDIR => {
                io::Error::other("there is a file or a link in its place, and links are not followed")
            }
            e => e.into(),
        })
    }

    fn folder(&mut self, path: &Path, record: &Record) -> io::Result<()> {
        let (parent, name) = self.beside(path)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => self.folders.push((path.to_owned(), record.clone())),
            Err(Errno::EXIST) => {
                self.open(path, OFlags::PATH | OFlags::DIRECTORY)?;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, record: &Record) -> io::Result<()> {
        if !stays_within(&record.path, &record.target) {
            self.whole = false;
            (self.say)(path, "it is a link that leads out of what is copied");
            return Ok(());
        }
        let (parent, name) = self.beside(path)?;
        let (fresh, ()) = self.fresh(|fresh| symlinkat(&record.target, &parent, fresh))?;
        put(&parent, &fresh, name)
    }

    fn file(&mut self, path: &Path, record: &Record, from: &mut impl Read) -> io::Result<()> {
        let (parent, name) = self.beside(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (fresh, file) = self.fresh(|fresh| openat(&parent, fresh, flags, Mode::RUSR | Mode::WUSR))?;
        let written = fill(&file.into(), record, from);
        if written.is_err() {
            let _ = unlinkat(&parent, &fresh, AtFlags::empty());
        }
        written?;
        put(&parent, &fresh, name)
    }

    /// Makes something by a name that nothing there has.
    fn fresh<T>(&mut self, make: impl Fn(&Path) -> rustix::io::Result<T>) -> io::Result<(PathBuf, T)> {
        loop {
            self.count += 1;
            let name = PathBuf::from(format!(".atelier-{}-{}.part", std::process::id(), self.count));
            match make(&name) {
                Ok(there) => return Ok((name, there)),
                // What was left there when a copy was killed.
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The innermost ones first: a folder may lose the right to be entered.
    fn finish_folders(&mut self) {
        for (path, record) in std::mem::take(&mut self.folders).into_iter().rev() {
            let done = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY).and_then(|folder| finish(&folder, &record));
            if let Err(e) = done {
                self.whole = false;
                (self.say)(&path, &format!("its mode and time could not be kept: {e}"));
            }
        }
    }
}

/// Gives something that is whole its name, and removes it if it cannot have that.
fn put(parent: &OwnedFd, fresh: &Path, name: &std::ffi::OsStr) -> io::Result<()> {
    renameat(parent, fresh, parent, name).map_err(|e| {
        let _ = unlinkat(parent, fresh, AtFlags::empty());
        match e {
            Errno::ISDIR => io::Error::other("there is a folder in its place"),
            e => e.into(),
        }
    })
}

fn fill(mut file: &File, record: &Record, from: &mut impl Read) -> io::Result<()> {
    while let Some(piece) = next_piece(from)? {
        file.write_all(&piece)?;
    }
    finish(file, record)
}

/// Mode and time, where there is one.
fn finish(of: impl AsFd, record: &Record) -> io::Result<()> {
    fchmod(&of, Mode::from_raw_mode(record.mode & 0o777))?;
    if record.seconds == i64::MIN {
        return Ok(());
    }
    let time = Timespec { tv_sec: record.seconds, tv_nsec: record.nanos.into() };
    Ok(futimens(of, &Timestamps { last_access: time, last_modification: time })?)
}

/// `a/./b`, `a//b` and `a/` have plain components only, and are not how a path is sent.
fn has_odd_form(path: &Path) -> bool {
    let joined: PathBuf = path.components().collect();
    joined.as_os_str() != path.as_os_str() || path.as_os_str().as_bytes().contains(&0)
}

/// Whether a link at `path` leads to something of the copy: it may climb at its beginning only, and not out of the copy.
/// Where it climbs from is a real folder, so that counting tells where it comes to.
fn stays_within(path: &Path, target: &Path) -> bool {
    let depth = path.components().count().saturating_sub(1);
    let climbs = target.components().take_while(|part| *part == Component::ParentDir).count();
    let plain = target.components().skip(climbs).all(|part| matches!(part, Component::Normal(_)));
    let is_inside = !path.as_os_str().is_empty() && climbs <= depth;
    is_inside && plain && !target.as_os_str().is_empty() && !has_odd_form(target)
}

#[cfg(test)]
mod tests;
