"""Write the whole events that a case expects: `python -m tests.expect tests/cases/NAME DATASET [INDEX...]`.

The events of `network_traffic.DATASET` in the case's capture, those with the indexes or the first, go to expected.json.
Read them before you commit: what is written is what came out, right or wrong.
"""

import json
import sys
from pathlib import Path

import yaml

from schemas.events import comparable
from tests.captures import captures
from tests.decoding import decode


def main(folder: Path, dataset: str, indexes: list[int]) -> None:
    """Decode the case's capture and write the events chosen."""
    case = yaml.safe_load((folder / "case.yaml").read_text(encoding="utf-8"))
    capture = captures() / case["public"] if "public" in case else folder / case["capture"]
    events = [e for e in decode([capture]).events if e["event"]["dataset"].endswith(f".{dataset}")]
    chosen = [comparable(events[index]) for index in indexes or [0]]
    (folder / "expected.json").write_text(
        json.dumps(chosen, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    sys.stdout.write(f"{len(events)} events of {dataset}, {len(chosen)} written\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(index) for index in sys.argv[3:]])
