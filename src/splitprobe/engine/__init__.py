"""`splitprobe run`: the stage graph of dvc.yaml, built in parallel.

``cli`` reads the command line; ``run`` is the loop that starts what is ready; ``repository`` is DVC's side of it (what
is due, what is recorded); ``cluster`` is Dask's (where stages run); ``launcher`` and ``forkserver`` run one stage in a
process of its own; ``plan`` takes the same graph to machines without DVC; ``view`` shows it.
"""
