"""Policies: which packets are decoded, recorded, only counted or dropped, as rules in a YAML file.

A small compiler: `source` (text and places), `syntax` (tokens, tree), `fields` (what a rule can ask), `check`
(tree to typed terms), `file` (the YAML around it), `generate` (terms to Python source that numba compiles),
`interpret` (the same without numba, slow: the oracle), `words` (terms in words), `policy` (what the engine calls).
"""
