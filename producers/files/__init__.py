"""Files that protocols carry in clear: TCP streams put together, bodies found in them, hashed and named.

The parsers are pure: bytes in order in, files out. `watch` is the edge that chooses packets and feeds them.
"""
