import copy

import pytest
import torch

from splitprobe.core.artifacts import DamagedFile, read_checkpoint, write_checkpoint
from splitprobe.targets.target import load_target, with_defense


def test_a_checkpoint_of_another_architecture_is_refused(make_target, paths, cpu):
    path = paths.target("cnn/unprotected")
    make_target().save(path)
    fine = read_checkpoint(path)
    for part, key, value, why in (
        ("shape", "width", 16, "it does not fit today's code"),
        ("shape", "width", "wide", "shape.width = 'wide'"),
        ("shape", "depth", 3, "shape.depth = 3: unknown key"),
        ("cell", "model", "none", "none"),
        ("cell", "name", "cnn/ae", "it is that of cnn/ae"),
    ):
        state = copy.deepcopy({**fine})
        state["blueprint"][part][key] = value
        write_checkpoint(path, state)
        with pytest.raises(DamagedFile) as caught:
            load_target(path, cpu)
        said = str(caught.value)
        assert said.startswith(f"{path} cannot be used: ") and why in said and "\n" not in said
        assert said.endswith("delete it and run `dvc repro train_target@cnn/unprotected`")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"edge": {}}, "Missing key"), ({"cloud": {}}, "Missing key"), ({"edge": 3}, "Expected state_dict"),
        ({"edge": None}, ""), ({"blueprint": {}}, "it has no 'cell'"), ({"blueprint": 3}, ""),
    ],
)  # fmt: skip
def test_a_checkpoint_of_something_else_is_refused(make_target, paths, cpu, changes, why):
    path = paths.target("cnn/unprotected")
    make_target().save(path)
    state = {**read_checkpoint(path)}
    write_checkpoint(path, state | changes)
    with pytest.raises(DamagedFile, match=rf"1\.pt cannot be used: .*{why}.*train_target@cnn/unprotected"):
        load_target(path, cpu)
    for name in state:
        write_checkpoint(path, {key: value for key, value in state.items() if key != name})
        with pytest.raises(DamagedFile, match=f"it has no '{name}'"):
            load_target(path, cpu)


def test_a_missing_checkpoint_names_the_way_out(tmp_path, cpu):
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        load_target(tmp_path / "t.pt", cpu)


def test_weights_move_behind_another_defense(make_target, make_blueprint):
    source = make_target()
    noisy = with_defense(source, make_blueprint("gaussian_noise"))
    assert noisy.defense.stochastic
    assert noisy.edge is source.edge
    assert noisy.cell.name == "cnn/gaussian_noise"
    with pytest.raises(ValueError, match="their networks differ"):
        with_defense(source, make_blueprint("siftfunnel"))


def test_a_network_can_be_cut_elsewhere(make_target, make_blueprint):
    source = make_target(cut=2)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    logits = source.logits(source.features(images))
    for cut in (1, 2, 3, 4):
        other = with_defense(source, make_blueprint(cut=cut))
        assert other.features(images).shape == (4, 4 * 2**cut, 32 // 2**cut, 32 // 2**cut)
        assert torch.equal(other.logits(other.features(images)), logits)
        assert not other.edge.training
    with pytest.raises(ValueError, match="their networks differ"):
        with_defense(make_target("siftfunnel"), make_blueprint(cut=3))


def test_features_do_not_depend_on_the_query_size(make_target, monkeypatch):
    target, images = make_target(), torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    whole = target.features(images)
    monkeypatch.setattr("splitprobe.targets.target.QUERY", 7)
    assert torch.allclose(target.features(images), whole, atol=1e-6)
