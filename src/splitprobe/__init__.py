"""splitprobe: defenses, attacks and leakage measures for split (edge/cloud) image classifiers."""
