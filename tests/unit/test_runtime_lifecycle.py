import signal
import threading
from collections.abc import Iterator

import pytest

from runtime.lifecycle import interrupt_on_signals, stop_on_signals, uninterrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's usual ones in a test, pytest's afterwards."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_a_second_ctrl_c_interrupts(signum: signal.Signals) -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(signum)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("signum", SIGNALS)
def test_every_signal_interrupts_as_ctrl_c_does(signum: signal.Signals) -> None:
    interrupt_on_signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signum)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on_signals()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_what_must_not_be_left_half_done(signum: signal.Signals) -> None:
    interrupt_on_signals()
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signum)
            signal.raise_signal(signum)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done


def test_other_threads_have_nothing_to_wait_for() -> None:
    came = threading.Event()

    def work() -> None:
        with uninterrupted():
            came.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    assert came.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
