"""Graphs that travel: a function's graph, its variables and its signatures in one file, and back.

`container` is the file of tensors, `values` and `document` the graph as JSON, `upgrades` what older files
need; `save` and `load` are what users call. Nothing in a file is ever executed.
"""
