"""The undefended network: the reference row of every table."""

from splitprobe.defenses.base import Defense


class Unprotected(Defense):
    """Cross-entropy training, the plain architecture, z sent as it is."""
