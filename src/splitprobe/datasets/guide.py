"""The words of messages: what a missing data set is, how to get it, whose terms hold; and what lies there instead."""

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from splitprobe.datasets.base import DataError

SHOWN = 5  # names that a message lists
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
SETS = {  # by the name of `raw`, without .zip
    "faces_yaleb": (
        "Extended Yale B, the cropped faces, as <person>/* in a folder or a .zip (UCSD, Georghiades 2001 and Lee 2005: "
        "free for research, to be cited, not to be passed on in a public database)"
    ),
    "faces_att": (
        "AT&T's Database of Faces (ORL), s1/* to s40/*, as a folder or a .zip "
        "(cam-orl.co.uk/facedatabase.html: credit to Olivetti Research Laboratory)"
    ),
    "facescrub": (
        "FaceScrub's faces as actor_faces/<name>/* and actress_faces/<name>/*, actors/faces/<name>/*, <name>/face/* or "
        "<name>/* (vintage.winklerbros.net/facescrub.html, on request, for research only; many of its links are dead, "
        "so copies differ in size)"
    ),
    "celeba": (
        "CelebA as img_align_celeba/*.jpg with identity_CelebA.txt beside that folder "
        "(mmlab.ie.cuhk.edu.hk/projects/CelebA.html: for non-commercial research only; when its drive is over quota "
        "it sends a web page under the archive's name)"
    ),
    "chestxray": (
        "chest X-rays as <class>/* with a MANIFEST.csv of path and patient (Kermany 2018, data.mendeley.com "
        "10.17632/rscbjbr9sj, CC BY 4.0; COVID-19 from Hannover, 10.25835/0090041, CC BY 3.0)"
    ),
    "curated-xray": (
        "`Curated X-Ray Dataset/<class>/*`, unpacked or as a .zip (Sait 2020, data.mendeley.com 10.17632/9xkhgts2s6: "
        "collected from other sets, whose terms hold)"
    ),
}


def missing(path: Path, layout: str) -> DataError:
    """The error for missing raw data; ``layout`` describes what may lie there, if the path is of no known set."""
    what = SETS.get(path.name.removesuffix(".zip"), layout)
    state = "is a link to nowhere" if os.path.islink(path) else "is missing"
    return DataError(f"{path} {state}: put {what} there, or change `raw` in params.yaml")


def few(names: Sequence[str], shown: int = SHOWN) -> str:
    """The first names of a list, and how many more there are, for messages: "a, b, c and 297 more"."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def census(names: Sequence[str]) -> str:
    """How many files of each suffix there are, for messages: "12 .gif, 3 without suffix"; with advice on archives."""
    kinds = Counter(posixpath.splitext(name)[1].lower() or "without suffix" for name in names)
    counted = few([f"{count} {kind}" for kind, count in kinds.most_common()]) or "no file"
    archive = next((name for name in names if name.lower().endswith(ARCHIVES)), None)
    return counted + (f"; unpack {archive}, an archive inside is not read" if archive else "")
