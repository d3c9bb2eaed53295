"""`splitprobe run`: the stage graph of dvc.yaml, built in parallel.

- ``cli`` reads the command line.
- ``run`` is the loop that starts what is ready.
- ``repository`` asks DVC what is due and lets it record results.
- ``cluster`` gives the stages Dask workers to run on, ``threads`` does without Dask.
- ``launcher`` and ``forkserver`` run one stage in a process of its own.
- ``plan`` takes the same graph to machines without DVC.
- ``view`` shows the build.
"""
