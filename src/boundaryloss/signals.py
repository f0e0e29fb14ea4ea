"""How a process ends when it is told to: with a status that says so, one line, and nobody left behind."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
GRACE = 10.0  # seconds to end in order; then the process ends where it stands


class Stopped(BaseException):
    """A signal asks the process to end.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = 128 + signum  # as shells count
        self.line = f"stopped by {signal.Signals(signum).name}" if signum != signal.SIGINT else "interrupted"


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Let the first signal raise `Stopped`, and ignore the next; what is ignored, as by nohup, stays so.

    Whatever then holds the process up, such as an exception lost in a callback or another process that does
    not answer, it is over after `GRACE` seconds.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    received: list[Stopped] = []
    timers: list[threading.Timer] = []

    def stop(signum: int, frame: Any) -> None:
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)
        received.append(Stopped(signum))
        timers.append(threading.Timer(GRACE, _give_up, received))
        timers[0].daemon = True
        timers[0].start()
        raise received[0]

    try:
        for number, handler in handlers.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    except Exception:
        if received:  # an error of what is being cleaned up
            raise received[0] from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()


def _give_up(stopped: Stopped) -> None:
    print(f"boundaryloss: {stopped.line}", file=sys.stderr, flush=True)
    os._exit(stopped.status)


def end_children() -> None:
    """Kill the processes that load data or run a part of the work: at its exit Python would wait for them."""
    for child in multiprocessing.active_children():
        child.kill()


@contextmanager
def ending_workers() -> Iterator[None]:
    """On any error kill the processes that were begun inside, or each would begin its next part first."""
    others = multiprocessing.active_children()
    try:
        yield
    except BaseException:
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.kill()
        raise


def end_with_parent() -> None:
    """Let this process end within a second of the one that started it, even if that one is killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(number: int) -> None:
    """Begin a process that loads data: Ctrl-C reaches it, too, but the process that it works for decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_with_parent()
