"""Which operation passes with which client.

A client is a class whose methods each try one operation, marked with `tries`, in the order in which they stand: a life of
a notebook is told by several. What a method asserts is what its client relies on; the first line of what went wrong is the
reason on the scoreboard. A client that cannot even be set up fails in every operation that it tries.
"""

import itertools
import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
CONTRACT = REPOSITORY / "contract" / "devenviron.yaml"
PAGE = REPOSITORY / "docs" / "compatibility.md"
# Operations of other services that clients of this one use.
BESIDE = ("CreateKeypair", "ListKeypairs", "ShowKeypair", "UpdateKeypair", "DeleteKeypair")
HEAD = """# Compatibility

Which operation passes with which client, unchanged and told nothing but an address and credentials. Made by
`make compat`, held true by `make test`. A client that does not know an operation has no mark there.

{clients}
| operation | {names} |
|---|{rules}|
"""
TAIL = """
Operations of the contract that no client tries here are refused with 400, `ModelArts.6651`: {refused}.
"""


def tries(*operations):
    """Marks a method of a client: it tries these operations."""

    def marked(method):
        method.tries = operations
        return method

    return marked


def play(kind, world):
    """Tries everything that a kind of client does; for each operation None, or why it failed."""
    outcome, made = {}, []
    unmade = _failure(lambda: made.append(kind(world)))
    for method in [method for method in vars(kind).values() if hasattr(method, "tries")]:
        failure = unmade or _failure(lambda method=method: method(made[0]))
        for operation in method.tries:
            outcome[operation] = outcome.get(operation) or failure
    return outcome


def _failure(attempt):
    try:
        attempt()
    # A client may fail in any way that it likes: it is the reason that counts.
    except Exception as error:  # noqa: BLE001
        said = getattr(error, "error_msg", None) or next(iter(str(error).strip().splitlines()), "")
        return _steady(f"{type(error).__name__}: {said}")
    return None


def _steady(reason):
    """Without what differs from run to run, so that two runs give one page."""
    reason = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b", "…", reason)
    reason = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", reason)
    return re.sub(r"\b1[0-9]{12}\b", "…", reason)[:200]


def operations():
    """The names of the contract's operations, in its order, and those beside it."""
    paths = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["paths"]
    named = [operation["operationId"] for item in paths.values() for operation in item.values()]
    return [*named, *BESIDE]


def page(clients, outcomes):
    """The scoreboard. `clients`: name and what it is; `outcomes`: by client what `play` gave."""
    known = operations()
    tried = {operation for outcome in outcomes.values() for operation in outcome}
    strangers = tried - set(known)
    assert not strangers, f"no operations of the contract: {sorted(strangers)}"
    notes, numbers, rows = [], itertools.count(1), []
    for operation in (one for one in known if one in tried):
        cells = []
        for name in clients:
            outcome = outcomes[name]
            if operation not in outcome:
                cells.append("")
            elif outcome[operation] is None:
                cells.append("pass")
            else:
                number = next(numbers)
                cells.append(f"**fails** ({number})")
                notes.append(f"{number}. {operation}, {name}: {outcome[operation]}")
        rows.append(f"| {operation} | {' | '.join(cells)} |")
    described = "\n".join(f"- **{name}**: {what}" for name, what in clients.items()) + "\n"
    head = HEAD.format(clients=described, names=" | ".join(clients), rules="---|" * (len(clients) - 1) + "---")
    refused = ", ".join(operation for operation in known if operation not in tried)
    return head + "\n".join(rows) + "\n" + TAIL.format(refused=refused) + "".join(f"\n{note}" for note in notes)
