import pytest
import torch

from splitprobe.artifacts import read_checkpoint, write_checkpoint
from splitprobe.models.split import Shape
from splitprobe.target import Blueprint, load_target, with_defense


def test_a_checkpoint_of_another_architecture_is_refused(make_target, tmp_path, cpu):
    path = tmp_path / "t.pt"
    make_target().save(path)
    state = read_checkpoint(path)
    state["blueprint"]["shape"]["width"] = 16
    write_checkpoint(path, state)
    with pytest.raises(ValueError, match=r"t\.pt does not fit"):
        load_target(path, cpu)


def test_a_missing_checkpoint_names_the_way_out(tmp_path, cpu):
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        load_target(tmp_path / "t.pt", cpu)


def test_the_checkpoint_changes_with_the_source_of_the_defense(make_target, tmp_path, monkeypatch):
    target = make_target("gaussian_noise")
    target.save(tmp_path / "a.pt")
    monkeypatch.setattr(Blueprint, "source_digest", lambda self: "another")
    target.save(tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() != (tmp_path / "b.pt").read_bytes()


def test_the_digest_tells_defenses_apart(make_target):
    digests = {make_target(name).blueprint.source_digest() for name in ("unprotected", "gaussian_noise", "dropout")}
    assert len(digests) == 3


def test_weights_move_behind_another_defense(make_target, make_cell, params):
    source = make_target()
    noisy = with_defense(source, Blueprint.from_params(make_cell("gaussian_noise"), Shape(3, 32, 4, 8), params))
    assert noisy.defense.stochastic
    assert noisy.edge is source.edge
    assert noisy.cell.name == "cnn/gaussian_noise"
    with pytest.raises(ValueError, match="their networks differ"):
        with_defense(source, Blueprint.from_params(make_cell("siftfunnel"), Shape(3, 32, 4, 8), params))


def test_a_network_can_be_cut_elsewhere(make_target, make_cell, params):
    source = make_target(cut=2)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    logits = source.logits(source.features(images))
    for cut in (1, 2, 3, 4):
        blueprint = Blueprint.from_params(make_cell(cut=cut), Shape(3, 32, 4, 8), params)
        other = with_defense(source, blueprint)
        assert other.features(images).shape == (4, 4 * 2**cut, 32 // 2**cut, 32 // 2**cut)
        assert torch.equal(other.logits(other.features(images)), logits)
        assert not other.edge.training
    with pytest.raises(ValueError, match="their networks differ"):
        with_defense(make_target("siftfunnel"), Blueprint.from_params(make_cell(cut=3), Shape(3, 32, 4, 8), params))


def test_features_do_not_depend_on_the_query_size(make_target, monkeypatch):
    target, images = make_target(), torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    whole = target.features(images)
    monkeypatch.setattr("splitprobe.target.QUERY", 7)
    assert torch.allclose(target.features(images), whole, atol=1e-6)
