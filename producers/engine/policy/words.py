"""Rules in words, for `netflight policy check` and `show`."""

from producers.engine.policy.check import AllOf, Among, AnyOf, Begins, Compare, Flag, Negation, Term, Within
from producers.engine.policy.fields import value_name
from producers.engine.policy.file import COUNT, Action, Limit, Rule

_SHOWN = 8
_COMPARED = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least"}


def in_words(rule: Rule) -> str:
    """What a rule says, as a sentence without its name."""
    everything = isinstance(rule.when, AllOf) and not rule.when.terms
    which = "all that is left" if everything else f"where {condition(rule.when)}"
    return f"{which}: {action(rule.then)}"


def condition(term: Term, *, inside: bool = False) -> str:  # noqa: PLR0911  # one for each kind of term
    """A term in words; `inside` puts brackets around one of several parts."""
    match term:
        case AnyOf(terms):
            text = " or ".join(condition(part, inside=True) for part in terms)
            return f"({text})" if inside else text
        case AllOf(terms):
            text = " and ".join(condition(part, inside=True) for part in terms)
            return f"({text})" if inside else text
        case Negation(Among() | Within() as part):
            return _membership(part, "is not")
        case Negation(part):
            return f"not {condition(part, inside=True)}"
        case Flag(field):
            return field.name
        case Compare(field, operator, number):
            return f"{field.name} is {_COMPARED[operator]} {number:,}"
        case Among() | Within():
            return _membership(term, "is")
        case Begins(field, offset, prefixes):
            verb = f"has at byte {offset}" if offset else "starts with"
            return f"{field.name} {verb} {_some([_bytes(prefix) for prefix in prefixes])}"


def _membership(term: Among | Within, verb: str) -> str:
    name = f"{term.field.name} {verb}"
    if term.listed:
        return f"{name} in {term.listed}"
    if isinstance(term, Within):
        single = all(network.num_addresses == 1 for network in term.networks)
        texts = [str(n.network_address if n.num_addresses == 1 else n) for n in term.networks]
        return f"{name} {'' if single else 'in '}{_some(texts)}"
    texts = [
        value_name(term.field, low) if low == high else f"{low} to {high}"
        for low, high in dict.fromkeys(term.ranges)
    ]
    return f"{name} {_some(texts)}"


def action(then: Action) -> str:
    """What a rule does, in words."""
    if then.drop:
        return "drop, in no flow"
    if then == COUNT:
        return "count only"
    parts = []
    if then.decode is not None:
        parts.append("do not decode" if then.decode.count == 0 else f"decode {_limit(then.decode)}")
    if then.record is not None:
        parts.append(_record(then.record, headers=then.headers))
    sample = f"; one flow in {then.sample:,}, the others are only counted" if then.sample > 1 else ""
    return ", ".join(parts) + sample


def _record(limit: Limit, *, headers: bool) -> str:
    if limit.count == 0:
        return "record headers" if headers else "do not record"
    return f"record {_limit(limit)} in full" + (", then headers" if limit.count is not None else "")


def _limit(limit: Limit) -> str:
    if limit.count is None:
        return "all"
    unit = limit.unit.value if limit.count > 1 else limit.unit.value.removesuffix("s")
    what = (
        "packets with payload" if unit == "packets" else "packet with payload" if unit == "packet" else unit
    )
    return f"the first {limit.count:,} {what} of each direction"


def _bytes(prefix: bytes) -> str:
    text = prefix.decode("latin-1")
    if text.isascii() and text.isprintable() and not set("'\\") & set(text):
        return f"'{text}'"
    return f"hex'{prefix.hex()}'"


def _some(texts: list[str]) -> str:
    shown = texts[:_SHOWN]
    more = f" or {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return " or ".join(shown) + more
