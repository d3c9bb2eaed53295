"""Sweeps: the cells of Table II at other values of one of their settings, read as cells are."""

from splitprobe.artifacts import read_json
from splitprobe.cells import Paths
from splitprobe.report.results import Results, combined


def points(paths: Paths) -> list[Results]:
    """The results of every setting that a sweep tried, by cell, key and value; none where none has run.

    Under ``knob`` each has the dotted ``key`` that it changes and its ``value``, beside the stages that cells have.
    """
    found = []
    for files in paths.tried():
        records = [read_json(file) for file in files]
        cell = records[0]["target"]["cell"]["name"]
        found.append(combined([Results("sweeps", cell, paths, record) for record in records]))
    return sorted(found, key=lambda point: (point.cell, point["knob"]["key"], point["knob"]["value"]))
