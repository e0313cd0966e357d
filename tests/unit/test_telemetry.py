"""What a part tells about itself."""

import logging

from runtime.telemetry import Seldom


def record(message: str, created: float, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("kafka", logging.ERROR, __file__, 1, message, args, None)
    made.created = created
    return made


def test_a_message_of_one_wording_is_told_once_in_a_while_with_how_often_it_came() -> None:
    seldom = Seldom(30.0)
    assert seldom.filter(record("broker %d is away", 0.0, 1))
    assert not any(seldom.filter(record("broker %d is away", at, 2)) for at in (0.1, 10.0, 29.9))
    assert seldom.filter(record("something else", 10.0))
    later = record("broker %d is away", 30.0, 1)
    assert seldom.filter(later)
    assert later.getMessage() == "broker 1 is away (3 more of these since it was last told)"
    again = record("broker %d is away", 60.0, 1)
    assert seldom.filter(again)
    assert again.getMessage() == "broker 1 is away"
