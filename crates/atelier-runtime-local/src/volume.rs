//! Volumes, and the layers of running instances: an XFS image file on a loop device.
//!
//! The capacity is real: who writes more gets ENOSPC. XFS, because it grows while mounted without rights that root
//! lacks on many hosted machines. The file is sparse, so a volume takes the space that was written to it. It is made
//! under another name and renamed when it is whole, so that a file of the right name always is a whole volume.
//!
//! A volume grows in three moves, each of which may be made again: its file ([`ensure`]), the device on it, the file
//! system on that ([`grow`]). One that is not mounted makes the last two when it is mounted next.
//!
//! A loop device holds its file until the last mount of it is gone. Attaching one image twice destroys it, so nothing
//! is attached before [`is_attached`] says no; and an image that many instances have ([`mount_shared`]) is attached once,
//! by the first, and mounted again by the others: one file system, wherever it is seen.

use std::ffi::CStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use atelier_core::filling::{Filling, Share};
use atelier_runtime::RuntimeError;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, copy_file_range, fallocate, fstatfs, fstatvfs, openat, seek};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};
use tempfile::TempPath;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::file;

/// Why a volume cannot be made.
fn failed(what: &str, error: &io::Error) -> RuntimeError {
    RuntimeError::Transient(format!("the volume could not be made: {what}: {error}"))
}

/// How long an image is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Until somebody removes it: it outlives a loss of power.
    ForGood,
    /// Until its container ends.
    ForNow,
}

/// The volume's file exists afterwards, with at least so many bytes. One that is there is left as it is but for its end.
/// When the future is dropped, nothing is left that could be taken for a volume.
pub(crate) async fn ensure(image: &Path, bytes: u64, kept: Kept) -> Result<(), RuntimeError> {
    if image.try_exists().map_err(|e| failed("image file", &e))? {
        return lengthen(image, bytes).map_err(|e| failed("image file", &e));
    }
    let fresh = fresh(image);
    let made = File::create(&fresh).and_then(|f| f.set_len(bytes));
    made.map_err(|e| failed("image file", &e))?;
    format(&fresh).await?;
    keep(&fresh, image, kept).map_err(|e| failed("image file", &e))
}

/// How the name of a layer begins that is nobody's. They are in the folder of their template.
const NOBODYS: &str = "layer-";

/// An empty file system that the layers of instances begin as, made once: a copy of what is in it takes a fraction of a
/// millisecond, and no program has to run.
#[derive(Debug)]
pub(crate) struct Template {
    image: PathBuf,
    bytes: u64,
    made: OnceCell<Made>,
}

/// A file that has no name any more, and the part of it that is the journal.
#[derive(Debug)]
struct Made {
    file: File,
    journal: Range<u64>,
}

impl Template {
    /// One of so many bytes, which has this path while it is made. What an earlier one has left is removed.
    pub(crate) fn new(image: PathBuf, bytes: u64) -> io::Result<Self> {
        let template = Self { image, bytes, made: OnceCell::new() };
        remove_layer(&template.image)?;
        let folder = template.folder();
        let names = file::names(folder)?;
        let mut nobodys = names.iter().filter(|name| name.starts_with(NOBODYS));
        nobodys.try_for_each(|name| file::remove(&folder.join(name)))?;
        Ok(template)
    }

    fn folder(&self) -> &Path {
        self.image.parent().unwrap_or(Path::new("."))
    }

    async fn made(&self) -> Result<&Made, RuntimeError> {
        self.made.get_or_try_init(|| self.make()).await
    }

    /// An empty layer that is nobody's yet. It becomes somebody's by a new name, and is gone otherwise.
    pub(crate) async fn copy_ahead(&self) -> Result<TempPath, RuntimeError> {
        let made = self.made().await?;
        let copy = || {
            let layer = tempfile::Builder::new().prefix(NOBODYS).tempfile_in(self.folder())?;
            made.copy_into(layer.as_file()).map(|()| layer.into_temp_path())
        };
        copy().map_err(|e| failed("layer", &e))
    }

    /// The layer is there afterwards, and empty. Only until its container ends: it does not outlive a loss of power.
    pub(crate) async fn copy_to(&self, layer: &Path) -> Result<(), RuntimeError> {
        let made = self.made().await?;
        let fresh = fresh(layer);
        // Within the call: what went on without it could take the place of a later layer.
        let copied =
            File::create(&fresh).and_then(|copy| made.copy_into(&copy)).and_then(|()| fs::rename(&fresh, layer));
        copied.map_err(|e| failed("layer", &e))
    }

    async fn make(&self) -> Result<Made, RuntimeError> {
        let image = &self.image;
        file::remove(image).map_err(|e| failed("template of layers", &e))?;
        ensure(image, self.bytes, Kept::ForNow).await?;
        let made = Made::open(image).and_then(|made| file::remove(image).map(|()| made));
        made.map_err(|e| failed("template of layers", &e))
    }
}

impl Made {
    fn open(image: &Path) -> io::Result<Self> {
        let file = File::open(image)?;
        let mut head = [0; 128];
        file.read_exact_at(&mut head, 0)?;
        let journal = journal(&head).ok_or_else(|| io::Error::other("it is no file system of ours"))?;
        Ok(Self { file, journal })
    }

    /// The journal has its room from the beginning, as `mkfs.xfs` gives it: a file system whose journal cannot be written
    /// because the disk is full would be shut down.
    fn copy_into(&self, copy: &File) -> io::Result<()> {
        copy_with_holes(&self.file, copy)?;
        let length = self.journal.end - self.journal.start;
        // A disk that shares what was copied gives it room of its own; not every one can, or has to.
        let own = FallocateFlags::KEEP_SIZE | FallocateFlags::UNSHARE_RANGE;
        let room = |how| fallocate(copy, how, self.journal.start, length);
        match room(own).or_else(|_| room(FallocateFlags::KEEP_SIZE)) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            given => Ok(given?),
        }
    }
}

/// Where the journal is, by the first bytes of a file system: its address has the number of a group above that of a block.
fn journal(head: &[u8; 128]) -> Option<Range<u64>> {
    let word = |at: usize| Some(u64::from(u32::from_be_bytes(head[at..at + 4].try_into().ok()?)));
    let start = u64::from_be_bytes(head[48..56].try_into().ok()?);
    let (block, group_blocks, blocks, shift) = (word(4)?, word(84)?, word(96)?, u32::from(head[124]));
    let (group, within) = (start.checked_shr(shift)?, start & (1_u64.checked_shl(shift)? - 1));
    let first = (group.checked_mul(group_blocks)? + within).checked_mul(block)?;
    let there = head.starts_with(b"XFSB") && start != 0;
    there.then_some(first..first + blocks * block)
}

/// The name of an image that is being made.
fn fresh(image: &Path) -> PathBuf {
    image.with_extension(file::FRESH)
}

fn copy_with_holes(from: &File, to: &File) -> io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let mut at = 0;
    loop {
        at = match seek(from, SeekFrom::Data(at)) {
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            other => other?,
        };
        let end = seek(from, SeekFrom::Hole(at))?;
        let (mut read, mut written) = (at, at);
        while read < end {
            let part = usize::try_from(end - read).unwrap_or(usize::MAX);
            if copy_file_range(from, Some(&mut read), to, Some(&mut written), part)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        at = end;
    }
}

fn keep(fresh: &Path, image: &Path, kept: Kept) -> io::Result<()> {
    if kept == Kept::ForNow {
        return fs::rename(fresh, image);
    }
    File::open(fresh)?.sync_all()?;
    fs::rename(fresh, image)?;
    file::sync_folder_of(image)
}

fn lengthen(image: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(image)?;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

async fn format(image: &Path) -> Result<(), RuntimeError> {
    let mut mkfs = Command::new("mkfs.xfs");
    mkfs.args(["-K", "-q", "-f"]).arg(image).stdin(Stdio::null()).kill_on_drop(true);
    match mkfs.output().await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(RuntimeError::Permanent(format!("the volume could not be made: mkfs.xfs: {said}")))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(RuntimeError::Permanent("`mkfs.xfs` is not there: install xfsprogs".into()))
        }
        Err(e) => Err(failed("mkfs.xfs", &e)),
    }
}

/// What the volume takes of the disk, in bytes; nothing where it is not there.
pub(crate) fn bytes_on_disk(image: &Path) -> u64 {
    fs::metadata(image).map_or(0, |volume| volume.blocks() * 512)
}

/// The volume is gone afterwards, and what [`ensure`] may have left of one.
pub(crate) fn remove(image: &Path) -> io::Result<()> {
    remove_layer(image)?;
    file::sync_folder_of(image)
}

/// The layer is gone afterwards, and what may be left of one that was not made to the end.
pub(crate) fn remove_layer(image: &Path) -> io::Result<()> {
    file::remove(&fresh(image))?;
    file::remove(image)
}

/// Whether a loop device has this image.
pub(crate) fn is_attached(image: &Path) -> io::Result<bool> {
    // A device is found by what it has in common with the image, so there is none for an image that is not there.
    Ok(image.try_exists()? && !nobody_has_it_open(image) && device_of(image)?.is_some())
}

/// The same number on every architecture of Linux's.
const F_SETSIG: libc::c_int = 10;

/// Whether surely nobody has this file open, and so no loop device either: the kernel gives a lease for writing to the
/// only one who has. That is one question, where there may be hundreds of devices.
fn nobody_has_it_open(image: &Path) -> bool {
    let Ok(file) = File::open(image) else { return false };
    // Whoever opens the file while the lease lasts has a signal sent here, by default one that would end this process.
    // SAFETY: no pointers. A lease that was given ends with the descriptor, which is at once.
    unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
    }
}

/// The loop device that has this image. Those with an image of that name are asked themselves: the path that the kernel shows
/// is the one that whoever attached the image saw, and it begins otherwise where a folder on the way is a mount of its own.
/// Others are not asked, because who asks waits for the file system that their image is on.
fn device_of(image: &Path) -> io::Result<Option<PathBuf>> {
    let name = image.file_name().unwrap_or_default().as_bytes();
    for device in file::names(Path::new("/sys/block"))?.into_iter().filter(|n| n.starts_with("loop")) {
        let backing = Path::new("/sys/block").join(&device).join("loop/backing_file");
        let Some(held) = file::read(&backing).unwrap_or_default() else { continue };
        let held = held.strip_suffix(b"\n").unwrap_or(&held);
        let held = held.strip_suffix(b" (deleted)").unwrap_or(held);
        if held.rsplit(|byte| *byte == b'/').next() != Some(name) {
            continue;
        }
        let path = Path::new("/dev").join(device);
        match File::open(&path).and_then(|device| has(&device, image)) {
            Ok(true) => return Ok(Some(path)),
            Ok(false) => {}
            // The device is being freed, or the image is not there.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENXIO | libc::ENOENT | libc::ENODEV)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Mounts the volume, at no place yet. The mount goes with what is returned, unless it is put somewhere, and the device frees
/// itself when the last mount is gone, also when this process is killed now.
pub(crate) fn mount(image: &Path) -> anyhow::Result<OwnedFd> {
    let mount = mount_alone(image, &[])?;
    let top = openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fill(&top.into(), image).context("growth")?;
    Ok(mount)
}

/// Mounts a layer, in the same way. All are of one template and have its identity, which the kernel is not to compare.
pub(crate) fn mount_layer(image: &Path) -> anyhow::Result<OwnedFd> {
    mount_alone(image, &[c"nouuid"])
}

fn mount_alone(image: &Path, options: &[&CStr]) -> anyhow::Result<OwnedFd> {
    anyhow::ensure!(!is_attached(image)?, "the volume is still attached");
    let (path, _device) = attach(image).context("loop device")?;
    mount_device(&path, options).context("mount")
}

/// Mounts a volume that others may have mounted as well, in the same way. Launchers of one volume wait for one another, and for
/// who removes it; while one of them has the device open, it does not free itself.
pub(crate) fn mount_shared(image: &Path) -> anyhow::Result<OwnedFd> {
    let _lock = lock(image).context("shared volume")?;
    let (path, _device) = find_or_attach(image).context("loop device")?;
    mount_device(&path, &[]).context("mount")
}

fn mount_device(device: &Path, options: &[&CStr]) -> io::Result<OwnedFd> {
    let disk = fsopen("xfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&disk, "source", device)?;
    options.iter().try_for_each(|option| fsconfig_set_flag(&disk, *option))?;
    fsconfig_create(&disk)?;
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(&disk, FsMountFlags::FSMOUNT_CLOEXEC, quiet)?)
}

/// The image of a shared volume, locked until this is dropped. It is opened for the lock alone: the device takes over what it
/// is attached by, and would keep the lock.
fn lock(image: &Path) -> io::Result<File> {
    let file = File::open(image)?;
    file.lock()?;
    if file.metadata()?.nlink() == 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it was removed meanwhile"));
    }
    Ok(file)
}

/// Removes a shared volume, unless a device has it or a launcher is about to attach it; whether it is gone.
pub(crate) fn remove_shared(image: &Path) -> io::Result<bool> {
    let Some(file) = file::absent_is_none(File::open(image))? else { return remove(image).map(|()| true) };
    // Held until the image is gone: whoever attaches it does so under this lock.
    match file.try_lock() {
        Ok(()) if device_of(image)?.is_none() => remove(image).map(|()| true),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// How long a device that is freeing itself is waited for.
const FREED: Duration = Duration::from_secs(5);

/// The device that has this image, open; a new one where none has it. To be called under the image's lock.
#[expect(clippy::disallowed_methods, reason = "a launcher has one thread, and the kernel tells nobody of it")]
fn find_or_attach(image: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    let until = Instant::now() + FREED;
    loop {
        let Some(path) = device_of(image)? else { return attach(image) };
        let device = File::options().read(true).write(true).open(&path);
        match device.and_then(|device| has(&device, image).map(|has| (has, device))) {
            Ok((true, device)) => return Ok((path, device.into())),
            // It is, or was, letting go of the image; what it has now may be another one.
            Ok(_) | Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) => return Err(io::Error::other("it does not let go of the volume")),
            Err(e) => return Err(e),
        }
    }
}

/// Whether this device, which is open and so keeps what it has, has this image.
fn has(device: &File, image: &Path) -> io::Result<bool> {
    // SAFETY: all-zero bytes are a valid status.
    let mut status: LoopInfo = unsafe { std::mem::zeroed() };
    // SAFETY: the structure has the kernel's layout and lives across the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut status) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let image = fs::metadata(image)?;
    Ok((status.device, status.inode) == (image.dev(), image.ino()))
}

/// Makes the file system of a mounted volume as large as its file. `point`: a folder that should be the volume's own;
/// refused when it lies on anything else, whoever put it there.
pub(crate) fn grow(image: &Path, point: &File) -> io::Result<()> {
    let Some(path) = device_of(image)? else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the volume is not attached"));
    };
    let device = File::options().read(true).write(true).open(path)?;
    if device.metadata()?.rdev() != point.metadata()?.dev() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the volume is not mounted there"));
    }
    // SAFETY: no pointers.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY) } != 0 {
        return Err(io::Error::last_os_error());
    }
    fill(point, image)
}

/// How full the volume is. `point`: a folder that should be the volume's own; refused when it lies on another kind of file
/// system.
pub(crate) fn filling(point: &File) -> io::Result<Filling> {
    if fstatfs(point)?.f_type != XFS_SUPER_MAGIC {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the volume is not mounted there"));
    }
    let seen = fstatvfs(point)?;
    let share =
        |total: u64, free: u64, unit: u64| Share { used: total.saturating_sub(free) * unit, total: total * unit };
    Ok(Filling {
        bytes: share(seen.f_blocks, seen.f_bfree, seen.f_frsize),
        inodes: share(seen.f_files, seen.f_ffree, 1),
    })
}

/// Makes the file system that `point` lies on as large as the image is.
fn fill(point: &File, image: &Path) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid geometry.
    let mut geometry: XfsGeometry = unsafe { std::mem::zeroed() };
    // SAFETY: the structure has the kernel's layout and lives across the call.
    if unsafe { libc::ioctl(point.as_raw_fd(), XFS_IOC_FSGEOMETRY_V1, &raw mut geometry) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let blocks = fs::metadata(image)?.len() / u64::from(geometry.block_size.max(1));
    // What mkfs leaves over at the end is less than one group; asking for it again would be refused.
    if blocks < geometry.data_blocks + u64::from(geometry.group_blocks) / 8 {
        return Ok(());
    }
    let growth = XfsGrowth { new_blocks: blocks, inode_percent: geometry.inode_percent, padding: 0 };
    // SAFETY: as above.
    let result = unsafe { libc::ioctl(point.as_raw_fd(), XFS_IOC_FSGROWFSDATA, &raw const growth) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct xfs_fsop_geom_v1`, as far as it is read.
#[repr(C)]
struct XfsGeometry {
    block_size: u32,
    realtime_extent: u32,
    group_blocks: u32,
    groups: u32,
    log_blocks: u32,
    sector_size: u32,
    inode_size: u32,
    inode_percent: u32,
    data_blocks: u64,
    rest: [u64; 9],
}

/// `struct xfs_growfs_data`.
#[repr(C)]
struct XfsGrowth {
    new_blocks: u64,
    inode_percent: u32,
    padding: u32,
}

const XFS_SUPER_MAGIC: rustix::fs::FsWord = 0x5846_5342;
const LOOP_SET_CAPACITY: libc::c_ulong = 0x4C07;
const XFS_IOC_FSGEOMETRY_V1: libc::c_ulong = 0x8070_5864;
const XFS_IOC_FSGROWFSDATA: libc::c_ulong = 0x4010_586E;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_NAME_SIZE: usize = 64;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; LO_NAME_SIZE],
    crypt_name: [u8; LO_NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Attaches the file to a device. It is freed when nobody has it open any more.
pub(crate) fn attach(image: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let file = File::options().read(true).write(true).open(image)?;
    loop {
        // SAFETY: no pointers.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(true).open(&path)?;
        match configure(&device, &file) {
            Ok(()) => return Ok((path, device.into())),
            // Somebody else was faster.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            Err(e) => return Err(e),
        }
    }
}

fn configure(device: &File, file: &File) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid configuration.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd().unsigned_abs();
    config.info.flags = LO_FLAGS_AUTOCLEAR;
    // SAFETY: the structure has the kernel's layout and lives across the call; both descriptors are open.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The sizes that the kernel expects.
const _: () = {
    assert!(size_of::<LoopInfo>() == 232);
    assert!(size_of::<LoopConfig>() == 304);
    assert!(size_of::<XfsGeometry>() == 112);
    assert!(size_of::<XfsGrowth>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_an_image_open_is_noticed() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = folder.path().join("image");
        assert!(!nobody_has_it_open(&image), "there is none");
        fs::write(&image, "x").unwrap();
        assert!(nobody_has_it_open(&image));
        let held = File::open(&image).unwrap();
        assert!(!nobody_has_it_open(&image));
        drop(held);
        assert!(nobody_has_it_open(&image));
    }

    #[test]
    fn a_copy_has_the_same_content_and_the_same_holes() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| folder.path().join(name);
        let (from, to) = (File::create_new(path("from")).unwrap(), File::create_new(path("to")).unwrap());
        from.set_len(64 << 20).unwrap();
        for at in [0, 1 << 20, (64 << 20) - 7] {
            from.write_all_at(b"written", at).unwrap();
        }
        let from = File::open(path("from")).unwrap();
        copy_with_holes(&from, &to).unwrap();
        assert!(fs::read(path("from")).unwrap() == fs::read(path("to")).unwrap());
        assert!(bytes_on_disk(&path("to")) < 1 << 20, "{}", bytes_on_disk(&path("to")));
    }

    #[tokio::test]
    async fn a_layer_is_what_mkfs_makes_with_room_for_its_journal() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["template", "template.new", "layer-a1b2c3"] {
            fs::write(path(name), "torn").unwrap();
        }
        let template = Template::new(path("template"), 20 << 30).unwrap();
        assert_eq!(file::names(folder.path()).unwrap(), [""; 0], "what an earlier one has left");
        template.copy_to(&path("layer")).await.unwrap();
        template.copy_to(&path("another")).await.unwrap();
        ensure(&path("made"), 20 << 30, Kept::ForNow).await.unwrap();
        assert_eq!(fs::metadata(path("layer")).unwrap().len(), 20 << 30);
        let (made, layer) = (bytes_on_disk(&path("made")), bytes_on_disk(&path("layer")));
        assert!(made > 1 << 20 && made.abs_diff(layer) < 64 << 10, "{made} {layer}");
        assert_eq!(layer, bytes_on_disk(&path("another")));
        drop(template.copy_ahead().await.unwrap());
        template.copy_ahead().await.unwrap().persist(path("another")).unwrap();
        assert!(layer.abs_diff(bytes_on_disk(&path("another"))) < 64 << 10);
        let mut names = file::names(folder.path()).unwrap();
        names.sort_unstable();
        assert_eq!(names, ["another", "layer", "made"], "the template has no name");
        let checked = std::process::Command::new("xfs_repair").arg("-n").arg(path("layer")).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn nobody_removes_a_volume_that_is_about_to_be_attached() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = folder.path().join("image");
        fs::write(&image, "x").unwrap();
        let launcher = lock(&image).unwrap();
        assert!(!remove_shared(&image).unwrap() && image.exists());
        launcher.unlock().unwrap();
        assert!(remove_shared(&image).unwrap() && !image.exists());
        assert!(remove_shared(&image).unwrap(), "it is gone");
    }

    /// Another volume has the name by then: who locked the former one would not keep others from attaching this one.
    #[test]
    fn whoever_waits_for_a_volume_that_is_removed_gets_none() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = folder.path().join("image");
        fs::write(&image, "x").unwrap();
        let held = lock(&image).unwrap();
        let number = format!(":{} ", held.metadata().unwrap().ino());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(&image));
            let waits = |line: &str| line.contains("->") && line.contains(&number);
            while !waiting.is_finished() && !fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
                std::thread::yield_now();
            }
            fs::remove_file(&image).unwrap();
            fs::write(&image, "y").unwrap();
            drop(held);
            assert_eq!(waiting.join().unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        });
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn an_image_that_many_have_is_attached_once() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = folder.path().join("image");
        fs::write(&image, [0; 4096]).unwrap();
        let (first, _open) = find_or_attach(&image).unwrap();
        let (second, _open) = find_or_attach(&image).unwrap();
        assert_eq!(first, second);
        assert!(!remove_shared(&image).unwrap() && image.exists(), "it is attached");
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn a_device_is_known_by_its_image_and_not_by_a_name() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let (image, other_path) = (folder.path().join("image"), folder.path().join("other/image"));
        fs::write(&image, [0; 4096]).unwrap();
        let (path, _device) = attach(&image).unwrap();
        fs::create_dir(folder.path().join("other")).unwrap();
        fs::hard_link(&image, &other_path).unwrap();
        assert_eq!(device_of(&other_path).unwrap(), Some(path));
        fs::remove_file(&image).unwrap();
        assert_eq!(device_of(&image).unwrap(), None, "there is none");
        fs::write(&image, [0; 4096]).unwrap();
        assert_eq!(device_of(&image).unwrap(), None, "another one has that name now");
    }
}
