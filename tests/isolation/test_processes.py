"""Processes of the machine and of other tenants: seen, read, signalled, traced; and the notebook's own first one."""

import pytest
from support.attempts import READ, Attempt, calls, in_the_cell, names, on_the_machine

pytestmark = pytest.mark.local

SEARCH_COMMAND_LINES = """
import glob
brought = ''
for name in glob.glob('/proc/[0-9]*/cmdline'):
    try:
        text = open(name).read()
    except OSError:
        continue
    # The searching process carries the word in its own command line.
    if {word!r} in text and 'brought' not in text:
        brought += text
"""

SIGNAL = """
import os, signal
os.kill({pid}, signal.SIGCONT)
brought = 'sent'
"""

TRACE = "call(101, 0x4206, {pid}, 0, 0)\nbrought = 'seized'"

READ_STACK = """
brought = ''
for line in open('/proc/{pid}/maps'):
    if line.rstrip().endswith('[stack]'):
        start, end = (int(part, 16) for part in line.split()[0].split('-'))
        local = ctypes.create_string_buffer(end - start)
        ours = (ctypes.c_size_t * 2)(ctypes.addressof(local), end - start)
        theirs = (ctypes.c_size_t * 2)(start, end - start)
        call(310, {pid}, ours, 1, theirs, 1, 0)
        brought += local.raw.decode(errors='replace')
"""

STEAL_A_DESCRIPTOR = """
process = call(434, {pid}, 0)
brought = f'stolen: {{call(438, process, 1, 0) > 0}}'
"""

# As what an ordinary process of a user may do, and no more.
ASK = """
import socket
with socket.socket(socket.AF_UNIX) as to:
    to.settimeout(3)
    to.connect({address!r})
    to.sendall(b'{{"version": 1, "command": "status"}}\\n')
    brought = to.recv(4096).decode(errors='replace')
"""

BECOME_URGENT = """
import os
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
brought = f'urgent: {os.sched_getscheduler(0) == os.SCHED_RR}'
"""

BECOME_IMPORTANT = """
import os
os.setpriority(os.PRIO_PROCESS, 0, -5)
brought = f'important: {os.getpriority(os.PRIO_PROCESS, 0)}'
"""


def processes_of_the_machine(stage):
    return Attempt(SEARCH_COMMAND_LINES.format(word=stage.process_word), stage.process_word)


def command_line_of_the_server(stage):
    program = READ.format(path=f"/proc/{stage.world.server.pid}/cmdline")
    return Attempt(program, str(stage.world.server.data_dir))


def trace_a_process(stage):
    return Attempt(calls(TRACE, pid=stage.process.pid), "seized")


def memory_of_a_process(stage):
    return Attempt(calls(READ_STACK, pid=stage.process.pid), stage.process_word)


def descriptor_of_a_process(stage):
    return Attempt(calls(STEAL_A_DESCRIPTOR, pid=stage.process.pid), "stolen: True")


def neighbours_process(stage):
    return Attempt(SEARCH_COMMAND_LINES.format(word=stage.neighbour_process_word), stage.neighbour_process_word)


def neighbours_first_process(stage):
    return Attempt(ASK.format(address=stage.init_socket(stage.neighbour)), '"version"')


def own_first_process(stage):
    outside = ASK.format(address=stage.init_socket(stage.attacker))
    return Attempt(ASK.format(address="/run/atelier/control/init.sock"), '"version"', control=outside)


def environment_of_the_first_process(stage):
    outside = READ.format(path=f"/proc/{stage.world.first_process(stage.attacker['id'])}/environ")
    return Attempt(READ.format(path="/proc/1/environ"), "PATH=", control=outside)


def trace_the_first_process(stage):
    outside = calls(TRACE, pid=stage.world.first_process(stage.attacker["id"]))
    return Attempt(calls(TRACE, pid=1), "seized", control=outside)


def real_time_priority(_stage):
    return Attempt(BECOME_URGENT, "urgent: True")


def higher_priority(_stage):
    return Attempt(BECOME_IMPORTANT, "important: -5")


ATTEMPTS = [
    processes_of_the_machine,
    command_line_of_the_server,
    trace_a_process,
    memory_of_a_process,
    descriptor_of_a_process,
    neighbours_process,
    neighbours_first_process,
    own_first_process,
    environment_of_the_first_process,
    trace_the_first_process,
    real_time_priority,
    higher_priority,
]


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_process(stage, kernel, attempt):
    attempt(stage).check(kernel)


def test_process_signalled(stage, kernel):
    program = SIGNAL.format(pid=stage.process.pid)
    assert "sent" in on_the_machine(program)
    arrived = stage.wait_for_signals(1)
    in_the_cell(kernel, program)
    # A process that reads its own count answers after every signal that was sent before the question.
    assert stage.signals() == arrived, "a signal from a cell arrived at a process of the machine"
