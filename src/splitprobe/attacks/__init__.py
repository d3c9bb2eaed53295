"""Attacks: each rebuilds x from what a defense releases. ATTACKS names the families; their variants are params sections."""

ATTACKS = {
    "generator": "splitprobe.attacks.generator:build",
    "mle": "splitprobe.attacks.mle:build",
}
