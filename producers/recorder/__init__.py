"""The packet recorder: a ring of pcapng files with an index by flow, and the way back from a Community ID to packets.

`recorder.Recorder` writes it, `carve.Ring` reads it, both at the same time if need be; docs/recorder.md tells how.
"""
