"""What syslog messages say, and what those say that are none."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.datasets.syslog import parsed


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            '1 2003-10-11T22:14:15.003Z web1 evntslog 77 ID47 [x@1 a="]\\""][y@1] \ufeffhello',
            {
                "log.syslog.version": "1",
                "netflight.syslog.timestamp": "2003-10-11T22:14:15.003Z",
                "log.syslog.hostname": "web1",
                "log.syslog.appname": "evntslog",
                "log.syslog.procid": "77",
                "log.syslog.msgid": "ID47",
                "netflight.syslog.structured_data": '[x@1 a="]\\""][y@1]',
                "message": "hello",
            },
        ),
        ("1 - - - - - - hello", {"log.syslog.version": "1", "message": "hello"}),
        (
            "Oct  1 06:55:08 rtr01 sshd[12]: who is there\n",
            {
                "netflight.syslog.timestamp": "Oct  1 06:55:08",
                "log.syslog.hostname": "rtr01",
                "log.syslog.appname": "sshd",
                "log.syslog.procid": "12",
                "message": "who is there",
            },
        ),
        (
            "Apr  5 12:56:51 robin: Hello, syslog!",
            {
                "netflight.syslog.timestamp": "Apr  5 12:56:51",
                "log.syslog.appname": "robin",
                "message": "Hello, syslog!",
            },
        ),
        ("no form at all", {"message": "no form at all"}),
        ("", {}),
    ],
)
def test_both_forms_and_none(text: str, wanted: dict[str, Any]) -> None:
    assert parsed(text) == wanted


@given(st.text())
def test_any_text_has_some_reading(text: str) -> None:
    parsed(text)
    parsed(f"1 - - - - - {text}")
    parsed(f"Oct  1 06:55:08 {text}")


def test_elements_without_an_end_take_no_time() -> None:
    began = time.monotonic()
    parsed("1 - - - - - " + '["' * 30_000)
    parsed("1 - - - - - [" + "a=\\" * 20_000)
    assert time.monotonic() - began < 2
