import copy
from dataclasses import replace

import pytest
import torch

from splitprobe.core.artifacts import DamagedFile, read_checkpoint, write_checkpoint
from splitprobe.targets.target import Features, load_target, with_defense


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


@pytest.mark.parametrize("keep", [True, False])
def test_features_are_those_of_the_whole_set_kept_or_not(make_target, monkeypatch, keep):
    monkeypatch.setattr("splitprobe.targets.target.QUERY", 7)
    target, images = make_target(), torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    whole, found = target.features(images[order]), Features.of(target, images, order, keep)
    assert (len(found), found.z is not None) == (20, keep)
    assert torch.equal(found[3:17], whole[3:17])
    assert torch.equal(torch.cat([*found.parts(6)]), whole)
    window = found.window(5, 18)
    assert [len(part) for part in window.parts(6)] == [6, 6, 1]
    assert torch.equal(torch.cat([*window.parts(6)]), whole[5:18])
    assert torch.equal(window.window(2, 5)[:], whole[7:10])
    index = torch.tensor([4, 0, 11])
    assert torch.allclose(window[index], whole[5 + index], atol=1e-6)  # another batch may differ in the last bits
    assert torch.equal(Features.of(target, images, None, keep)[:], target.features(images))


def test_features_are_kept_where_the_memory_has_room(make_target, caplog):
    target, z = make_target(), 16 * 8 * 8 * 4
    caplog.set_level("INFO", "splitprobe")
    for memory, kept in ((2 * 10 * z, True), (2 * 10 * z - 1, False)):
        assert replace(target, runtime=replace(target.runtime, memory=memory)).keeps(10) is kept
    assert [record.getMessage().split(", ")[1] for record in caplog.records] == ["kept", "computed for each batch"]
