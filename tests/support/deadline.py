"""Waiting for something that is asked for again and again until it is so, or the time is over."""

import time


class DeadlineError(AssertionError):
    """What was waited for did not come in time."""


def wait_until(question, what, seconds=30.0, every=0.05):
    """Asks `question()` until its answer is true, and returns that answer.

    An `AssertionError` or `ConnectionError` inside the question counts as "not yet"; its text is shown when the time
    is over.
    """
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            answer = question()
            if answer:
                return answer
            last = answer
        except (AssertionError, ConnectionError) as not_yet:
            last = not_yet
        if time.monotonic() >= end:
            raise DeadlineError(f"{what}: not within {seconds:g} s; last seen: {last!r}")
        time.sleep(every)
