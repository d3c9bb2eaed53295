"""Networks as lists of blocks, cut into an edge and a cloud half; attention blocks; decoders.

A registry line names the module and class, imported when used: so a stage depends on the file of its own model only.
"""

MODELS = {
    "cnn": "splitprobe.models.cnn:Cnn",
    "resnet18": "splitprobe.models.resnet18:ResNet18",
    "vgg16": "splitprobe.models.vgg16:Vgg16",
}
