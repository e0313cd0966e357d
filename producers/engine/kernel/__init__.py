"""The decision engine's native part: Python source that numba compiles once and keeps.

Stages, each one loop over a block's packets that reads and writes the rows of `layout.FACTS`:
`parse` (what the packet says), the policy's drop rules, `track` (its flow, and with `phases` what part of its
protocol it is), the policy's other rules. Nothing here allocates per packet, knows a clock or raises.
"""
