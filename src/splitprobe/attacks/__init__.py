"""The attacks: each rebuilds the image x from what a defense releases.

ATTACKS maps a name to a function that builds the attacks under it, in the order of building: each builder is given the
attacks built so far. The sections of ``attack`` in params.yaml hold the settings.
"""

ATTACKS = {
    "generator": "splitprobe.attacks.generator:build",
    "mle": "splitprobe.attacks.mle:build",
    "hybrid": "splitprobe.attacks.hybrid:build",
    "prior": "splitprobe.attacks.prior:build",
}
APART = {"query_free": "splitprobe.attacks.query_free:QueryFree"}  # run by the stage measure_knowledge alone
