"""The defenses, one file each.

DEFENSES maps a defense's name to its module and class. Its settings are the section ``defense.<name>`` of params.yaml.
"""

DEFENSES = {
    "unprotected": "splitprobe.defenses.unprotected:Unprotected",
    "gaussian_noise": "splitprobe.defenses.gaussian_noise:GaussianNoise",
    "dropout": "splitprobe.defenses.dropout:FeatureDropout",
    "dpsgd": "splitprobe.defenses.dpsgd:Dpsgd",
    "nls": "splitprobe.defenses.nls:NegativeLabelSmoothing",
    "mid": "splitprobe.defenses.mid:Mid",
    "bido": "splitprobe.defenses.bido:Bido",
    "vib": "splitprobe.defenses.vib:Vib",
    "infoscissors": "splitprobe.defenses.infoscissors:InfoScissors",
    "ae": "splitprobe.defenses.ae:AutoEncoder",
    "nopeek": "splitprobe.defenses.nopeek:NoPeek",
    "ressfl": "splitprobe.defenses.ressfl:ResSfl",
    "cem": "splitprobe.defenses.cem:Cem",
    "topk": "splitprobe.defenses.topk:TopK",
    "siftfunnel": "splitprobe.defenses.siftfunnel:SiftFunnel",
}
