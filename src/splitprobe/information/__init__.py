"""How much z says about x: mutual information (two MINE estimators) and effective information, with closed forms."""
