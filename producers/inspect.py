"""The deep inspector: one packet's full dissection, by pyshark, which is made for few packets and much detail."""

from collections.abc import Iterator
from pathlib import Path

import pyshark
from pyshark.capture.capture import TSharkCrashException

from producers.decoders.tshark import tshark_path
from producers.sources.opening import open_path
from runtime.errors import CaptureError, UsageError


def inspect_frame(path: Path, frame: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each layer of a packet, outermost first: its name, and its fields with what they show.

    Raises UsageError where the capture or the frame is not there, CaptureError where it cannot be read,
    NotACaptureError for a file that is none.
    """
    open_path(str(path))
    if frame < 1:
        raise UsageError(f"--frame {frame}: frames count from 1")
    capture = pyshark.FileCapture(
        str(path),
        display_filter=f"frame.number == {frame}",
        tshark_path=tshark_path(),
        custom_parameters=["-n", "-c", str(frame)],
        keep_packets=False,
    )
    try:
        packet = next(iter(capture), None)
    except TSharkCrashException as error:
        raise CaptureError(f"{path}: tshark cannot read it: {str(error).splitlines()[0]}") from error
    finally:
        capture.close()
    if packet is None:
        raise UsageError(f"{path}: there is no frame {frame}", "the capture is shorter")
    for layer in packet.layers:
        fields = [
            (name, str(layer.get_field(name).showname or layer.get_field(name))) for name in layer.field_names
        ]
        yield layer.layer_name, fields
