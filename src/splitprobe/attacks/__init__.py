"""Attacks: each rebuilds x from what a defense releases.

ATTACKS names the families; the sections of ``attack`` in params.yaml name their variants.
"""

ATTACKS = {
    "generator": "splitprobe.attacks.generator:build",
    "mle": "splitprobe.attacks.mle:build",
}
