"""Measures the fused losses against plain TensorFlow, the originals and the floor of the memory: `detloss-benchmark`.

A `Case` is one loss on one size of input. `session` checks that its implementations agree, times them in turns and
measures their peak memory in child processes; `report` and `plot` show the rows that come out. A `Peer` is another
framework's loss, timed beside them.
"""
