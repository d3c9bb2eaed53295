"""What an error says when a data set is missing: what the data set is, how to get it, and whose terms hold."""

from pathlib import Path

from splitprobe.datasets.base import DataError

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
    return DataError(f"{path} is missing: put {what} there, or change `raw` in params.yaml")
