"""Graphs that travel: a function's graph, its variables and its signatures in one file, and back.

`container` is the file of tensors, `writer` and `reader` make JSON of signatures and back, `upgrades` is what
older files need; `save` and `load` are what users call. Nothing in a file is ever executed.
"""
