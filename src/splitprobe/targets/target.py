"""A trained target (edge, cloud, defense) as it is saved, loaded and queried by attacks and estimators."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splitprobe.core.artifacts import read_checkpoint, reading, write_checkpoint
from splitprobe.core.cells import Cell, writer
from splitprobe.core.params import Params, typed
from splitprobe.core.registry import lookup
from splitprobe.core.runtime import Runtime
from splitprobe.defenses import DEFENSES
from splitprobe.defenses.base import Defense
from splitprobe.learning.parts import joined
from splitprobe.models import MODELS
from splitprobe.models import split as splitting
from splitprobe.models.split import Layout, Normalization, Shape

log = logging.getLogger("splitprobe")
QUERY = 256  # images per forward pass without gradients; changes memory, not results


@dataclass(frozen=True)
class Blueprint:
    """All that is needed to build a target's networks again, beside its weights."""

    cell: Cell
    shape: Shape
    model: object
    normalization: Normalization
    architecture: Defense
    defense: Defense

    @classmethod
    def from_params(cls, cell: Cell, shape: Shape, params: Params) -> Blueprint:
        """Read the model's and the defense's sections; raises ParamsError."""
        model = params.section(f"model.{cell.model}", lookup(MODELS, cell.model, "model").Settings)
        normalization = params.section("normalization", Normalization)
        architecture = lookup(DEFENSES, cell.architecture, "defense").lending(cell.architecture, params)
        defense = lookup(DEFENSES, cell.defense, "defense").from_params(cell.defense, params)
        return cls(cell, shape, model, normalization, architecture, defense)

    def build(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Fresh edge and cloud: those of the architecture, with what the defense changes."""
        net = splitting.build(self.cell.model, self.model, self.normalization, self.shape)
        return self.defense.modify(*self.architecture.modify(*splitting.split(net, self.cell.cut)))

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """A decoder that mirrors the defended edge; None where that is the plain one."""
        mirrors = (method.gray_box_decoder(layout) for method in (self.defense, self.architecture))
        return next((decoder for decoder in mirrors if decoder is not None), None)

    def layout(self, edge: nn.Sequential) -> Layout:
        """What a decoder of this edge's z must fit."""
        return Layout(self.cell.model, edge[-1].out_channels, self.cell.cut, self.shape.width, self.shape.channels)

    def plain(self) -> dict[str, Any]:
        """Plain types for a checkpoint."""
        parts = {name: asdict(getattr(self, name)) for name in ("cell", "shape", "model", "normalization")}
        return {**parts, "architecture": self.architecture.plain(), "defense": self.defense.plain()}

    @classmethod
    def from_plain(cls, plain: Mapping) -> Blueprint:
        """The blueprint that a checkpoint carries."""
        plain = _with_lists(plain)
        cell = typed(Cell, plain["cell"], "cell")
        return cls(
            cell,
            typed(Shape, plain["shape"], "shape"),
            typed(lookup(MODELS, cell.model, "model").Settings, plain["model"], "model"),
            typed(Normalization, plain["normalization"], "normalization"),
            *(
                lookup(DEFENSES, name, "defense").from_plain(name, plain[part])
                for part, name in (("architecture", cell.architecture), ("defense", cell.defense))
            ),
        )


def _with_lists(value: Any) -> Any:
    """Tuples back to the lists that :func:`typed` expects of YAML."""
    if isinstance(value, Mapping):
        return {k: _with_lists(v) for k, v in value.items()}
    return [_with_lists(v) for v in value] if isinstance(value, tuple | list) else value


@dataclass
class Target:
    """Edge and cloud on the device, in evaluation mode and frozen, behind one defense."""

    blueprint: Blueprint
    edge: nn.Sequential
    cloud: nn.Sequential
    runtime: Runtime
    record: dict[str, Any]

    @property
    def cell(self) -> Cell:
        """The cell this target belongs to."""
        return self.blueprint.cell

    @property
    def defense(self) -> Defense:
        """The defense whose ``release`` an attacker sees."""
        return self.blueprint.defense

    def freeze(self) -> Target:
        """Evaluation mode, no parameter gradients."""
        for half in (self.edge, self.cloud):
            half.eval().requires_grad_(False)
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """z (N, c, h, w), before release, of uint8 images (N, C, H, W)."""
        return joined((self.edge(part.float() / 255) for part in images.split(QUERY)), len(images))

    @torch.no_grad()
    def logits(self, z: Tensor) -> Tensor:
        """The cloud's output (N, classes) for released features."""
        return joined((self.cloud(part).float() for part in z.split(QUERY)), len(z))

    def one(self) -> Tensor:
        """z (1, c, h, w) of a black image, for its shape and size."""
        shape = self.blueprint.shape
        black = torch.zeros(1, shape.channels, shape.side, shape.side, dtype=torch.uint8, device=self.runtime.device)
        return self.features(black)

    def keeps(self, images: int) -> bool:
        """Whether z of so many images is kept on the device, as ``runtime.memory`` has it, or computed in batches."""
        size = images * self.one().nbytes
        kept = self.runtime.keeps(size)
        log.info("  z of %d images: %.2f GiB, %s", images, size / 2**30, "kept" if kept else "computed for each batch")
        return kept

    def save(self, path: Path) -> None:
        """Write the weights, the blueprint and the record."""
        blueprint = self.blueprint
        state = {
            "edge": self.edge.state_dict(),
            "cloud": self.cloud.state_dict(),
            "blueprint": blueprint.plain(),
            "record": self.record,
        }
        write_checkpoint(path, state)


@dataclass(frozen=True)
class Features:
    """z of uint8 images (N, C, H, W) before release: kept on the device (``z``), or computed where it is asked for.

    ``order`` are the images that are meant, one after the other; None: all as they stand. ``first`` and ``count`` are
    the window on these. Either way the same numbers come out: a slice is computed in the same batches as the whole set.
    """

    target: Target
    images: Tensor
    order: Tensor | None
    z: Tensor | None
    first: int
    count: int

    @classmethod
    def of(cls, target: Target, images: Tensor, order: Tensor | None = None, keep: bool = False) -> Features:
        """Those of a whole set; ``keep``: computed now, batch by batch, and held."""
        count = len(images if order is None else order)
        streamed = cls(target, images, order, None, 0, count)
        return replace(streamed, z=joined(streamed._blocks(0, count), count)) if keep else streamed

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> torch.Size:
        """(N, c, h, w)."""
        return torch.Size((self.count, *self.target.one().shape[1:]))

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """z of some of them, by their numbers (k,) or by a slice in steps of 1."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(self.count)
            start, stop = self.first + start, self.first + stop
            return self.z[start:stop] if self.z is not None else joined(self._blocks(start, stop), stop - start)
        index = index + self.first
        return self.z[index] if self.z is not None else self.target.features(self._images(index))

    def window(self, start: int, stop: int) -> Features:
        """Those from one number up to another, computed as in the whole."""
        return replace(self, first=self.first + start, count=stop - start)

    def parts(self, size: int) -> Iterator[Tensor]:
        """Yield all z, in parts of ``size`` images."""
        return (self[start : start + size] for start in range(0, self.count, size))

    def _images(self, index: Tensor | slice) -> Tensor:
        return self.images[index if self.order is None else self.order[index]]

    def _blocks(self, start: int, stop: int) -> Iterator[Tensor]:
        """z from one number of the whole set up to another, in the batches in which all are computed."""
        # a convolution's last bits may depend on the batch that an image is in
        for block in range(start - start % QUERY, stop, QUERY):
            z = self.target.features(self._images(slice(block, block + QUERY)))
            yield z[max(0, start - block) : stop - block]


def load_target(path: Path, runtime: Runtime) -> Target:
    """Load a target, frozen, onto the runtime's device.

    Raises FileNotFoundError or DamagedFile, when it is absent, or damaged or of another cell or architecture.
    """
    try:
        state = read_checkpoint(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: `dvc repro` trains it") from None
    with reading(path):
        blueprint = Blueprint.from_plain(state["blueprint"])
        edge, cloud = blueprint.build()
        for half, weights in ((edge, state["edge"]), (cloud, state["cloud"])):
            try:
                half.load_state_dict(weights)
            except RuntimeError as error:
                raise ValueError(f"it does not fit today's code: {error}") from error
        stage, _, cell = writer(path).partition("@")
        if stage == "train_target" and cell != blueprint.cell.name:
            raise ValueError(f"it is that of {blueprint.cell.name}")
        record = state["record"]
    return Target(blueprint, runtime.place(edge), runtime.place(cloud), runtime, record).freeze()


def with_defense(target: Target, blueprint: Blueprint) -> Target:
    """The same weights behind another cell's defense or at another cut, for cells that train nothing.

    Raises ValueError when that defense needs another architecture than the weights have.
    """
    edge, cloud = blueprint.build()
    ours, theirs = ([half.state_dict() for half in halves] for halves in ((edge, cloud), (target.edge, target.cloud)))
    refusal = ValueError(f"{blueprint.cell.name} cannot start from {target.cell.name}: their networks differ")
    if blueprint.cell.cut == target.cell.cut:
        if [_shapes(half) for half in ours] != [_shapes(half) for half in theirs]:
            raise refusal
        return replace(target, blueprint=blueprint)
    # the halves of a plain network keep its numbering: together they are its weights, wherever it is cut
    if ours[0].keys() & ours[1].keys() or _shapes(ours[0] | ours[1]) != _shapes(theirs[0] | theirs[1]):
        raise refusal
    for half in (edge, cloud):
        half.load_state_dict({key: (theirs[0] | theirs[1])[key] for key in half.state_dict()})
    edge, cloud = (target.runtime.place(half) for half in (edge, cloud))
    return Target(blueprint, edge, cloud, target.runtime, target.record).freeze()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}
