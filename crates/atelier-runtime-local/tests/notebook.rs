//! What a notebook on this machine is: its limits, its rights, what it keeps and what it loses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod bed;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use atelier_core::volume::Volume;
use atelier_runtime::contract::{Upto, ask, bring, new_spec};
use atelier_runtime::{InstanceSpec, Observed, Runtime, Silent};
use bed::Machine;
use bed::kernel::Kernel;
use bed::processes::{changed, has_limits, has_limits_and_no_rights, kill, kill_server, running};

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn every_step_leaves_its_work_and_a_stop_leaves_nothing() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    let mut at = Instant::now();
    let mut took = |what: &str| {
        println!("{what}: {:?}", at.elapsed());
        at = Instant::now();
    };
    runtime.prepare_image(spec.image, &Silent).await.unwrap();
    runtime.prepare_storage(&spec).await.unwrap();
    took("storage");
    runtime.prepare_compute(&spec).await.unwrap();
    took("compute");
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Idle { ended: None });
    runtime.configure_network(&spec).await.unwrap();
    took("network");
    runtime.initialize(&spec).await.unwrap();
    took("initialize");
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    took("ask");
    runtime.stop(spec.notebook).await.unwrap();
    took("stop");
    let kept = machine.data.path().join("notebooks").join(spec.notebook.to_string());
    let mut names: Vec<_> = fs::read_dir(&kept).unwrap().flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["log", "volume.img"]);
    runtime.remove(spec.notebook).await.unwrap();
    took("remove");
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn limits_are_set_and_nobody_has_rights() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Serving).await;
    has_limits_and_no_rights(&machine, &*runtime, &spec).await;
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

/// What an update has changed while the notebook was stopped.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_start_takes_the_image_and_the_size_it_is_given() {
    let machine = Machine::new();
    let layer = tempfile::TempDir::new().unwrap();
    fs::create_dir(layer.path().join("etc")).unwrap();
    fs::write(layer.path().join("etc/image-marker"), "the other image").unwrap();
    let runtime = machine.runtime_with(layer.path().to_owned());
    let mut spec = new_spec();
    let look = "
import os
marker = '/etc/image-marker'
print(open(marker).read() if os.path.exists(marker) else 'no marker', open('kept').read() if os.path.exists('kept') else '')
open('kept', 'w').write('the volume stays')
";
    bring(&*runtime, &spec, Upto::Serving).await;
    assert_eq!(Kernel::start(&*runtime, &spec).await.run(look).await, "no marker \n");
    runtime.stop(spec.notebook).await.unwrap();
    spec.image = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10".parse().unwrap();
    spec.cpu_millis += 250;
    spec.memory_bytes += 64 << 20;
    bring(&*runtime, &spec, Upto::Serving).await;
    assert_eq!(Kernel::start(&*runtime, &spec).await.run(look).await, "the other image the volume stays\n");
    has_limits(&machine, &spec);
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

/// The number of a container's first process now belongs to somebody else, while no server was there to see it.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_process_with_a_recycled_number_is_not_adopted() {
    let machine = Machine::new();
    let spec = new_spec();
    {
        let runtime = machine.runtime();
        bring(&*runtime, &spec, Upto::Compute).await;
        assert_eq!(machine.runtime().observe(spec.notebook).await.unwrap(), Observed::Idle { ended: None });
    }
    let init = running(&machine, &spec, "atelier/bin/init").remove(0);
    let number: i32 = init.file_name().unwrap().to_str().unwrap().parse().unwrap();
    kill(&init);
    while init.exists() {
        std::thread::yield_now();
    }
    let mut other = with_number(number);

    let runtime = machine.runtime();
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
    runtime.stop(spec.notebook).await.unwrap();
    runtime.remove(spec.notebook).await.unwrap();
    assert_eq!(other.try_wait().unwrap(), None, "somebody else's process was ended");
    other.kill().unwrap();
    other.wait().unwrap();
    machine.is_clean();
}

/// A process with this number. The kernel gives out the next free one after the last; others may be quicker.
fn with_number(number: i32) -> std::process::Child {
    loop {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        if i32::try_from(child.id()) == Ok(number) {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn code_in_a_notebook_is_kept_in() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let (spec, neighbour) = (new_spec(), new_spec());
    bring(&*runtime, &neighbour, Upto::Network).await;
    bring(&*runtime, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;

    let refused = kernel
        .run(
            "
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    ctypes.set_errno(0)
    return errno.errorcode.get(ctypes.get_errno()) if libc.syscall(*args) == -1 else 'done'
print('unshare', call(272, 0x10000000))
print('mount', call(165, b'tmpfs', b'/mnt', b'tmpfs', 0, 0))
print('clone3', call(435, 0, 0))
print('x32', call(0x40000000 + 39))
print('later', call(5000))
print('keyctl', call(250, 0))
for path in ['/etc/x', '/run/atelier/x', '/run/atelier/layer/up', '/run/atelier/control/init.sock', '/proc/1/environ']:
    try:
        open(path, 'w' if path.endswith('x') else 'r'); print(path, 'done')
    except OSError as e:
        print(path, errno.errorcode[e.errno])
try:
    os.kill(1, 9); print('kill', 'done')
except OSError as e:
    print('kill', errno.errorcode[e.errno])
",
        )
        .await;
    let expected = "unshare EPERM\nmount EPERM\nclone3 ENOSYS\nx32 EPERM\nlater ENOSYS\nkeyctl EPERM\n/etc/x EACCES\n\
        /run/atelier/x EACCES\n/run/atelier/layer/up EACCES\n/run/atelier/control/init.sock EACCES\n\
        /proc/1/environ EACCES\nkill EPERM\n";
    assert_eq!(refused, expected);

    // A service on every address of this machine: from here it answers, from the notebook it does not.
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let own = own_address();
    std::net::TcpStream::connect((own, port)).unwrap();
    let record = machine.data.path().join("notebooks").join(neighbour.notebook.to_string()).join("state.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let other = record["address"].as_str().unwrap().to_owned();
    let code = format!(
        "
import socket
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=0.7).close(); return 'reached'
    except OSError as e:
        return 'refused' if isinstance(e, ConnectionRefusedError) else 'silence'
print(reach('{own}', {port}), reach('{other}', 80), reach('169.254.1.1', {port}), reach('169.254.169.254', 80))
print(reach('127.0.0.1', {port}))
"
    );
    assert_eq!(kernel.run(&code).await, "silence silence silence silence\nrefused\n");
    runtime.remove(spec.notebook).await.unwrap();
    runtime.remove(neighbour.notebook).await.unwrap();
    machine.is_clean();
}

/// An address of this machine that is not its loopback.
fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.200:9").unwrap();
    socket.local_addr().unwrap().ip()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn the_volume_is_as_large_as_it_says_and_is_all_that_survives() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    let full = kernel
        .run(
            "
import errno, os
open('/home/ma-user/work/kept', 'w').write('kept')
open('/home/ma-user/lost', 'w').write('lost')
def fill(path, gib):
    at = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.posix_fallocate(at, 0, int(gib * 2**30)); return 'fits'
    except OSError as e:
        return errno.errorcode[e.errno]
    finally:
        os.close(at); os.unlink(path)
print(fill('/home/ma-user/work/most', 4.8), fill('/home/ma-user/work/more', 5), fill('/home/ma-user/more', 21))
",
        )
        .await;
    assert_eq!(full, "fits ENOSPC ENOSPC\n");
    runtime.stop(spec.notebook).await.unwrap();

    bring(&*runtime, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    let left = kernel
        .run("import os; print(sorted(os.listdir('/home/ma-user/work')), os.path.exists('/home/ma-user/lost'))")
        .await;
    assert_eq!(left, "['.environment', 'kept'] False\n", "packages are installed into the first one");
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_volume_grows_under_its_notebook_and_while_it_rests() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let of_size = |spec: &InstanceSpec, gib| {
        let mut larger = spec.clone();
        larger.volume = Volume::new(spec.volume.id, gib);
        larger
    };
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    kernel
        .run(
            "
import os
held = open('/home/ma-user/work/held', 'w')
def gib():
    told = os.statvfs('/home/ma-user/work')
    # The journal and the inodes take their share.
    return round(told.f_blocks * told.f_frsize / 2**30)
",
        )
        .await;
    assert_eq!(kernel.run("print(gib())").await, "5\n");
    for _ in 0..2 {
        runtime.grow_storage(&of_size(&spec, 12)).await.unwrap();
        assert_eq!(kernel.run("print(held.write('x'), gib())").await, "1 12\n");
    }
    runtime.grow_storage(&spec).await.unwrap();
    assert_eq!(kernel.run("held.flush(); print(gib())").await, "12\n", "nothing makes it smaller");
    runtime.stop(spec.notebook).await.unwrap();

    let larger = of_size(&spec, 20);
    bring(&*runtime, &larger, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &larger).await;
    let told = kernel
        .run("import os; s = os.statvfs('/home/ma-user/work'); print(round(s.f_blocks * s.f_frsize / 2**30), open('/home/ma-user/work/held').read())")
        .await;
    assert_eq!(told, "20 xx\n");
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_notebook_lives_on_without_its_server_process() {
    let machine = Machine::new();
    let spec = new_spec();
    let first = machine.runtime();
    bring(&*first, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*first, &spec).await;
    kernel.run("kept = 'in memory'").await;
    let before = running(&machine, &spec, "jupyterlab");
    drop(first);

    let second = machine.runtime();
    bring(&*second, &spec, Upto::Serving).await;
    assert_eq!(running(&machine, &spec, "jupyterlab"), before);
    assert_eq!(kernel.run("print(kept)").await, "in memory\n");
    second.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn another_secret_restarts_the_server_and_locks_the_old_one_out() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let mut spec = new_spec();
    bring(&*runtime, &spec, Upto::Serving).await;
    let old = spec.clone();
    spec.upstream_secret = "another-secret".to_owned().into();
    runtime.initialize(&spec).await.unwrap();
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    assert_eq!(ask(&*runtime, &old).await, "HTTP/1.1 403 Forbidden");
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn the_end_of_a_server_or_of_its_container_is_noticed() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Serving).await;
    kill_server(&machine, &*runtime, &spec).await;
    runtime.initialize(&spec).await.unwrap();
    assert_eq!(ask(&*runtime, &spec).await, "HTTP/1.1 200 OK");
    kill(&running(&machine, &spec, "atelier/bin/init")[0]);
    while runtime.observe(spec.notebook).await.unwrap() != Observed::Absent {
        changed(&*runtime).await;
    }
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_launcher_killed_at_any_moment_leaves_nothing_that_a_removal_does_not_find() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let mut killed = 0;
    for moment in 0..20_u64 {
        let spec = new_spec();
        bring(&*runtime, &spec, Upto::Storage).await;
        let making = tokio::spawn({
            let (runtime, spec) = (runtime.clone(), spec.clone());
            async move { runtime.prepare_compute(&spec).await }
        });
        while bed::launcher(machine.data.path()).is_none() && !making.is_finished() {
            tokio::task::yield_now().await;
        }
        // Spreads the kills over the life of a launcher; which of them hits what does not matter.
        tokio::time::sleep(std::time::Duration::from_millis(3 * moment)).await;
        if let Some(launcher) = bed::launcher(machine.data.path()) {
            let _ = rustix::process::kill_process(launcher, rustix::process::Signal::KILL);
        }
        killed += u32::from(making.await.unwrap().is_err());
        runtime.remove(spec.notebook).await.unwrap();
        assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
        machine.is_clean();
    }
    println!("{killed} of 20 launchers were killed in their work");
    assert!(killed > 0);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_package_can_be_fetched() {
    let machine = Machine::new();
    let runtime = machine.runtime();
    let spec = new_spec();
    bring(&*runtime, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    let said = kernel
        .run(
            "
import subprocess, sys
done = subprocess.run([sys.executable, '-m', 'pip', 'download', '--no-deps', '-d', '/tmp/six', 'six'],
                      capture_output=True, text=True)
print(done.returncode, done.stdout, done.stderr)
",
        )
        .await;
    assert!(said.starts_with('0'), "{said}");
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

/// What a server that was killed has left behind: nothing else says any more that the notebook computes for long.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_notebook_that_is_found_running_has_its_usual_weight_again() {
    let machine = Machine::new();
    let spec = new_spec();
    bring(&*machine.runtime(), &spec, Upto::Compute).await;
    let name = format!("{}-{}", bed::mark(machine.data.path()), spec.notebook);
    let files = ["cpu/atelier", "atelier"].map(|folder| Path::new("/sys/fs/cgroup").join(folder).join(&name));
    let files = [files[0].join("cpu.shares"), files[1].join("cpu.weight")];
    let file = files.iter().find(|file| file.exists()).unwrap();
    let usual = fs::read_to_string(file).unwrap();
    fs::write(file, "3").unwrap();
    let runtime = machine.runtime();
    runtime.begin().await;
    let until = Instant::now() + Duration::from_mins(1);
    while fs::read_to_string(file).unwrap() != usual {
        assert!(Instant::now() < until, "the weight stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    runtime.close().await;
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}

/// What a reboot leaves: records of another boot, whose process numbers may be somebody else's by now. Here they are
/// still the container's own, and the record says that it cannot be.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(as_root), ignore = "needs root")]
async fn a_container_of_another_boot_is_gone_and_its_volume_is_not() {
    let machine = Machine::new();
    let spec = new_spec();
    let runtime = machine.runtime();
    bring(&*runtime, &spec, Upto::Serving).await;
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    kernel.run("open('/home/ma-user/work/kept', 'w').write('kept')").await;
    drop((kernel, runtime));

    let state = machine.data.path().join("notebooks").join(spec.notebook.to_string()).join("state.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let this_boot = record["first"]["boot_id"].clone();
    record["first"]["boot_id"] = "another boot".into();
    fs::write(&state, record.to_string()).unwrap();

    let runtime = machine.runtime();
    assert_eq!(this_boot, runtime.boot_id().await.unwrap());
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Absent);
    assert!(matches!(runtime.connect(spec.notebook).await, Err(atelier_runtime::RuntimeError::Absent)));
    bring(&*runtime, &spec, Upto::Serving).await;
    assert_eq!(runtime.observe(spec.notebook).await.unwrap(), Observed::Serving);
    let mut kernel = Kernel::start(&*runtime, &spec).await;
    let kept = kernel.run("print(open('/home/ma-user/work/kept').read())").await;
    assert!(kept.contains("kept"), "{kept}");
    runtime.remove(spec.notebook).await.unwrap();
    machine.is_clean();
}
