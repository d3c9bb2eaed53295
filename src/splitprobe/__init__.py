"""What leaks from a split network, and which defense stops it. The rooms of this package, and what each may import:

- ``core``: settings, cells, file names, recipes, files and the device; nothing else of the package.
- ``datasets`` (where images come from), ``models`` (networks, and how they are cut), ``learning`` (losses, measures,
  optimizers, schedules): core, and each other where they need to.
- ``defenses``, a file for each method: the above. No method imports another.
- ``targets``: what is trained, saved and queried, and the judge of reconstructions: the above.
- ``attacks`` (how x is rebuilt from z) and ``information`` (what z says about x): the above.
- ``probes``: what joins these for one cell: sweeps, latency, the attacker's knowledge and releases: the above.
- ``report`` (tables and figures from the numbers) and ``engine`` (the command ``splitprobe``): core alone.
"""
