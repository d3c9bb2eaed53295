"""Networks as lists of blocks that can be cut into an edge and a cloud; attention blocks; decoders.

MODELS maps a name to a module and class, imported only when used, so that a stage depends on its own model's file
alone.
"""

MODELS = {
    "cnn": "splitprobe.models.cnn:Cnn",
    "resnet18": "splitprobe.models.resnet18:ResNet18",
    "vgg16": "splitprobe.models.vgg16:Vgg16",
}
