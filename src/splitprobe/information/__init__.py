"""How much z says about x: estimates and bounds of mutual information, entropy, dependence, and closed forms."""
