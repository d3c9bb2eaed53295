"""The undefended network, which every table has as its reference row."""

from splitprobe.defenses.base import Defense


class Unprotected(Defense):
    """Cross-entropy training, the plain architecture, z sent as it is."""
