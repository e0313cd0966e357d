"""What a connection's history says of its state, in the words of Zeek's conn.log.

https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html
"""

from functools import lru_cache


@lru_cache(maxsize=4_096)
def connection_state(history: str) -> str:
    """Zeek's conn_state for a history."""
    opened, accepted = "S" in history, "h" in history
    if opened and accepted:
        return _established(history)
    if opened:
        return _unanswered(history)
    if accepted:
        return "RSTRH" if "r" in history else "SHR" if "f" in history else "OTH"
    return "OTH"


def _established(history: str) -> str:
    if closed_by(history) == "fin":
        return "SF"
    resets = [letter for letter in history if letter in "Rr"]
    if resets:
        return "RSTO" if resets[0] == "R" else "RSTR"
    return "S2" if "F" in history else "S3" if "f" in history else "S1"


def _unanswered(history: str) -> str:
    if "r" in history:
        return "REJ"
    if any(letter in history for letter in "adf"):
        return "OTH"
    return "RSTOS0" if "R" in history else "SH" if "F" in history else "S0"


def closed_by(history: str) -> str:
    """How a connection ended first: `fin` if both sides finished, `rst` if one reset it; empty while it is open."""
    finished = max(history.find("F"), history.find("f")) if "F" in history and "f" in history else -1
    reset = min((at for at in (history.find("R"), history.find("r")) if at >= 0), default=-1)
    if finished >= 0 and (reset < 0 or finished < reset):
        return "fin"
    return "rst" if reset >= 0 else ""
