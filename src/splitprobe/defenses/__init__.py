"""Defenses: one file each, found through DEFENSES and tuned by the section ``defense.<name>`` of params.yaml."""

DEFENSES = {
    "unprotected": "splitprobe.defenses.unprotected:Unprotected",
    "gaussian_noise": "splitprobe.defenses.gaussian_noise:GaussianNoise",
    "dropout": "splitprobe.defenses.dropout:FeatureDropout",
    "siftfunnel": "splitprobe.defenses.siftfunnel:SiftFunnel",
}
