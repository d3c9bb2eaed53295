"""Attacks: each rebuilds x from what a defense releases.

ATTACKS is in the order in which they are built: a builder is given what was built before it. The sections of ``attack``
in params.yaml name the members.
"""

ATTACKS = {
    "generator": "splitprobe.attacks.generator:build",
    "mle": "splitprobe.attacks.mle:build",
    "hybrid": "splitprobe.attacks.hybrid:build",
}
