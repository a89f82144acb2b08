"""The way of a forked child from the machine into a notebook's container.

A *zygote* is a process that has imported everything which a program needs, and waits. It is asked to become that
program inside a container: a child of it goes there. Three processes are needed:

    A  was forked beforehand and waits for the request. It joins the container's control groups and its namespaces.
       Joining a pid namespace takes effect for children only, and a child may be born in a control group, which costs
       less than to join one, so
    B  is the first of them in it. An orphan is given to the first process of its *parent's* pid namespace, so B must
       have a child in turn:
    C  belongs to the container's init when B is gone. It gives up every right and becomes the program.

What holds always:
- The zygote takes no request; the first A that is free does. So nothing of one notebook is ever in the memory that
  another one inherits.
- The zygote has one thread, no descriptor but its gate and no secret.
- A failure before the init has taken the child over leaves nothing but its reason.

The order of what C gives up follows that of the init's own start of a server: first what needs rights, then the user,
then the rights, then the filters; and one filter more, which its init has already (`sync_filter.rs` of the init).
"""

import _signal
import atexit
import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import stat
import sys
import threading
import time

# The first three descriptors of a request; the control groups follow: a folder to be born in, and files that take whoever
# writes to them.
REQUEST, REPLY, INIT = range(3)
MOST_DESCRIPTORS = 32
# Children that wait for a request.
SPARE = 2
# How long a child that is gone waits for its successor, in milliseconds: what it begins needs the processors more.
BREATH = 100
CONTROL_SOCKET = "/run/atelier/control/init.sock"
SECRET_FD = 3
# These two cannot be set, and the C library keeps two for itself.
UNTOUCHED = {signal.SIGKILL, signal.SIGSTOP, 32, 33}
# How long the init may take to answer.
PATIENCE = 5.0

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000
# The same number on every architecture.
SYS_CLONE3 = 435
EVERYTHING = (
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_SET_MODE_FILTER = 1
NEW_LISTENER = 1 << 3
WAIT_KILLABLE = 1 << 5
CAPABILITY_VERSION_3 = 0x20080522
MADV_COLLAPSE = 25

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


# Without what Python does around it, and without giving up its lock.
fork = ctypes.PyDLL(None).fork
clone3 = ctypes.PyDLL(None, use_errno=True).syscall


class HowToClone(ctypes.Structure):
    """`struct clone_args`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack"),
            *("stack_size", "tls", "set_tid", "set_tid_size", "cgroup"),
        )
    ]


def fork_in(group):
    """A child that is in this control group from its first moment on. The C library does not know of it, so it may do
    little else than fork in turn."""
    how = HowToClone(flags=CLONE_INTO_CGROUP, exit_signal=signal.SIGCHLD, cgroup=group)
    number, size = ctypes.c_long(SYS_CLONE3), ctypes.c_size_t(ctypes.sizeof(how))
    child = clone3(number, ctypes.byref(how), size)
    if child < 0 and ctypes.get_errno() == errno.ENOSYS:
        # Something around the server does not let it be called: the slow way.
        with open("cgroup.procs", "w", opener=lambda name, flags: os.open(name, flags, dir_fd=group)) as file:
            file.write("0")
        return fork()
    return check(child, "clone3")


class Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


class Failed(Exception):
    """What the child was doing, and what the system said."""


def check(result, doing):
    if result < 0:
        raise Failed(f"{doing}: {os.strerror(ctypes.get_errno())}")
    return result


def wait(warm):
    """Has `warm` import everything, and waits. Returns in a child as `serve` does, and with it what `warm` has returned."""
    reserve()
    gate = socket.socket(fileno=0)
    warmed = warm()
    if len(os.listdir("/proc/self/task")) != 1:
        raise Failed("an import has started a thread")
    # What is there now is looked at by no collection any more, so that the children share it.
    gc.collect()
    gc.freeze()
    gather()
    request = serve(gate)
    # Descriptor 0 is another one now.
    gate.detach()
    return request, warmed


def gather():
    """Has the kernel put this process's memory into huge pages, of which a fork copies one entry where it would copy 512,
    and the end of the child drops as few; what a child writes to is copied in small pages as ever. Where the kernel cannot
    (it can since Linux 6.1), forks take longer."""
    with open("/proc/self/maps") as file:
        lines = [line.split() for line in file]
    for addresses, access, *_, name in (line if len(line) > 5 else [*line, ""] for line in lines):
        if access == "rw-p" and name in ("", "[heap]"):
            start, end = (int(address, 16) for address in addresses.split("-"))
            libc.madvise(ctypes.c_size_t(start), ctypes.c_size_t(end - start), MADV_COLLAPSE)


def reserve():
    """Nothing may take the place of the secret, which is put over whatever is there."""
    if os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) != SECRET_FD:
        raise Failed(f"descriptor {SECRET_FD} is in use")


def serve(gate):
    """Keeps children that wait for a request. Returns in the one that has become ma-user in a container, with what was
    asked."""
    # From here on the end of the gate is heard, and a request is no reason to end.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    # Nobody waits for A: the kernel forgets it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    zygote = os.getpid()
    taken, taking = os.pipe()
    events = select.poll()
    events.register(gate, select.POLLRDHUP)
    events.register(taken, select.POLLIN)
    gate.send(b"warm")
    missing = SPARE
    while True:
        if missing == SPARE or (missing and not events.poll(BREATH)):
            for _ in range(missing):
                if fork() == 0:
                    return wait_for_a_request(zygote, gate, taking)
            missing = 0
        for descriptor, _ in events.poll():
            if descriptor == gate.fileno():
                leave()
            missing += len(os.read(taken, 64))


def leave():
    """Whoever asks has gone. The children that wait see it too, and nothing of this zygote is to outlive it."""
    try:
        # Their ends are ignored, so this returns when there is none left.
        os.wait()
    except ChildProcessError:
        pass
    os._exit(0)


def end_with(parent):
    """Whatever ends the parent ends this process too."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "end with the zygote")
    # It may have ended before.
    if os.getppid() != parent:
        os._exit(0)


def wait_for_a_request(zygote, gate, taking):
    """In A. It ends with the zygote, or whoever asks would not see that there is none."""
    end_with(zygote)
    _, descriptors, _, _ = socket.recv_fds(gate, 1, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not descriptors:
        os._exit(0)
    check(libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0), "live on without the zygote")
    os.write(taking, b"!")
    return descend(descriptors)


def descend(descriptors):
    """In A, B and C; returns in C."""
    reply = descriptors[REPLY]
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with open(descriptors[REQUEST], "rb") as file:
            request = json.load(file)
        born_in = None
        for group in descriptors[INIT + 1 :]:
            if stat.S_ISDIR(os.fstat(group).st_mode):
                born_in = group
            else:
                os.write(group, b"0")
        # Whoever is in a namespace of control groups may not be the parent of a child in a group outside of it.
        check(libc.setns(descriptors[INIT], EVERYTHING & ~CLONE_NEWCGROUP), "setns")
        first = fork() if born_in is None else fork_in(born_in)
        if first != 0:
            os.waitpid(first, 0)
            os._exit(0)
        check(libc.setns(descriptors[INIT], CLONE_NEWCGROUP), "setns")
        if fork() != 0:
            os._exit(0)
        # What Python does after a fork, once: among it new seeds.
        ctypes.pythonapi.PyOS_AfterFork_Child()
        request["listener"] = become(request)
        say(reply, "taken over")
        if request["listener"] is None:
            os._exit(0)
        leave_nothing_open(keep=request["listener"].fileno())
        # An ordinary process from here on: it may look at itself in /proc.
        check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")
        return request
    except BaseException as error:
        try:
            say(reply, f"{type(error).__name__}: {error}"[:500])
        finally:
            os._exit(127)


def say(reply, text):
    """Whoever asked may have given up meanwhile: what the init has taken over goes on all the same."""
    try:
        os.write(reply, text.encode())
    except BrokenPipeError:
        pass


def become(request):
    """Gives everything up. Returns the socket that the program is to listen on; none when one like it does so."""
    os.setsid()
    # The machine's root is nobody here. Only from the container's own root do the rights go with the user.
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.settimeout(PATIENCE)
    control.connect(CONTROL_SOCKET)
    takeover = request["takeover"]
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(request["oom_score_adj"]))
    output = place_descriptors(read=takeover is not None)
    become_user(request["uid"], request["gid"])
    secret = request.pop("secret", None)
    if secret is not None:
        place_secret(secret)
    else:
        os.close(SECRET_FD)
    reset_signals()
    os.umask(0o022)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    for program in request["filters"]:
        install(bytes.fromhex(program))
    if takeover is None and answers(request["socket"]):
        return None
    have_syncs_answered(control, request["syncs"])
    if takeover:
        listener = take_over(control, takeover, output, request["socket"])
    else:
        listener = listen(request["socket"], socket.SOCK_SEQPACKET)
    control.close()
    return listener


def place_descriptors(read):
    """0 reads nothing, 1 and 2 go to the log; returns the end of it that the init reads. Nowhere, when nobody reads."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    output, end = os.pipe() if read else (None, os.dup(null))
    os.close(null)
    os.dup2(end, 1)
    os.dup2(end, 2)
    os.close(end)
    return output


def become_user(uid, gid):
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) < 0:
            break
        check(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "bounding set")
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def place_secret(secret):
    """Made by the user itself: who opens a pipe by its name in /proc has to own it."""
    read, write = os.pipe()
    os.write(write, secret.encode())
    os.close(write)
    # Whatever had this number is not needed any more, and must not be the pipe itself when it is closed.
    os.dup2(read, SECRET_FD)
    if read != SECRET_FD:
        os.close(read)


def reset_signals():
    """As Python sets them when it starts."""
    for number in range(1, signal.NSIG):
        if number not in UNTOUCHED:
            # The module's own function looks every number up in an enumeration.
            _signal.signal(number, _signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_IGN)
    _signal.signal(signal.SIGINT, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def install(program):
    chosen = Filter(len(program) // 8, program)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(chosen), 0, 0), "seccomp")


def have_syncs_answered(control, syncs):
    """The init answers what `sync` is to do, unless it is of an earlier release, or cannot."""
    if not ask(control, syncs["question"]).get("answers_syncs"):
        return
    program = bytes.fromhex(syncs["filter"])
    chosen = ctypes.byref(Filter(len(program) // 8, program))
    # The second one does not let signals end the wait for an answer; earlier kernels do not know it.
    for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):
        listener = libc.syscall(*map(ctypes.c_long, (syncs["seccomp"], SECCOMP_SET_MODE_FILTER, flags)), chosen)
        if listener >= 0 or ctypes.get_errno() != errno.EINVAL:
            break
    ask(control, syncs["request"], check(listener, "listen to sync"))


def answers(path):
    """Whether another process listens there, from before the notebook server was started again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        # Whoever listens may be the user's, and accept nobody.
        asking.settimeout(PATIENCE)
        try:
            asking.connect(path)
        except OSError:
            return False
        return True


def take_over(control, request, output, path):
    """Whoever comes too late is refused: another server listens there by then, and goes on to."""
    own = f"{path}.{os.getpid()}"
    listener = listen(own, socket.SOCK_STREAM)
    try:
        wait_for_the_init()
        ask(control, request, output)
        os.rename(own, path)
    except BaseException:
        os.unlink(own)
        raise
    return listener


def listen(path, kind):
    """Whoever finds it waits for the program, and does not have to try again."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.setblocking(False)
    before = os.umask(0o177)
    listener.bind(path)
    os.umask(before)
    listener.listen(128)
    return listener


def wait_for_the_init():
    """The init takes over its own children only, and this is one as soon as B has ended."""
    until = time.monotonic() + PATIENCE
    while os.getppid() != 1:
        if time.monotonic() > until:
            raise Failed("the init is not the parent")
        time.sleep(0.0002)


def ask(control, request, descriptor=None):
    """Asks the init, which knows by the connection which process this is, and gives it a descriptor. What it answers."""
    line = json.dumps(request).encode() + b"\n"
    if descriptor is None:
        control.sendall(line)
    else:
        socket.send_fds(control, [line], [descriptor])
        os.close(descriptor)
    text = b""
    while not text.endswith(b"\n"):
        part = control.recv(65536)
        if not part:
            raise Failed("the init has closed the connection")
        text += part
    answer = json.loads(text)
    if answer.get("error"):
        raise Failed(answer["error"])
    return answer


def run_to_the_end(program):
    """Runs a program and ends as the interpreter does after it, without taking apart what the zygote has made: that
    would make it this process's own."""
    code = 1
    try:
        code = program() or 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def entitle(title):
    """What process lists show. The zygote was started with an argument that leaves room for it."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    # Fields 48 and 49 of the file; the third is the first one here.
    start, end = int(fields[45]), int(fields[46])
    room = end - start
    text = title.encode()[: room - 2]
    # A last byte that is not 0 says that this is one text, and no list of words.
    ctypes.memmove(start, text + b"\0" * (room - len(text) - 1) + b".", room)


def leave_nothing_open(keep):
    first = SECRET_FD + 1
    if keep > first:
        libc.close_range(first, keep - 1, 0)
    libc.close_range(max(keep + 1, first), 0x7FFFFFFF, 0)
