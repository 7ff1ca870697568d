"""A pruned model on disk: replayed, refused, never half written, and no code in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pruning_nets as nets
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import edgedl
from edgedl import weights
from edgedl.errors import InvalidInput
from edgedl.pruning import saved
from edgedl.pruning.plan import Attribute, Cut, Plan, fingerprint


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


KEPT = (0, 2, 3, 7)
PLAN = Plan(fingerprint(net()), cuts=(Cut("0", "out", KEPT), Cut("2", "in", KEPT)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved.save(PLAN, PLAN.apply(net()), tmp_path)
    return tmp_path


def test_what_is_saved_is_replayed(folder: Path) -> None:
    assert saved.plan_in(folder) == PLAN
    pruned = weights.loaded(net(), folder)
    x = torch.ones(3, 4)
    torch.testing.assert_close(pruned(x), PLAN.apply(net())(x), rtol=0, atol=0)
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "weights.safetensors"]


def test_a_reference_takes_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n    torch.manual_seed(1)\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    reference = edgedl.TaskReference(f"{tmp_path}/net.py:net", str(folder), ("x=1x4",))
    (artifact,) = edgedl.export(reference, out=tmp_path / "out")
    assert artifact.manifest is not None
    assert artifact.manifest.provenance["weights_sha256"] == saved.digest(folder)
    x = np.ones((1, 4), np.float32)
    want = PLAN.apply(net())(torch.from_numpy(x)).detach().numpy()
    with edgedl.load(artifact.path) as session:
        np.testing.assert_allclose(session.run({"x": x})["output"], want, atol=1e-5)


def test_the_digest_changes_with_either_file(folder: Path) -> None:
    first = weights.digest(folder)
    other = PLAN.apply(net())
    other.get_parameter("0.bias").data += 1
    weights.save(other, folder / saved.WEIGHTS)
    assert first != weights.digest(folder)
    (folder / saved.PLAN).unlink()
    assert weights.digest(folder) is None


def test_a_plan_for_another_model(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="the plan was made for another model: its fingerprint is '58-"):
        weights.loaded(nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)), folder)


def test_weights_of_another_shape(folder: Path) -> None:
    weights.save(net(), folder / saved.WEIGHTS)
    with pytest.raises(InvalidInput, match=r"does not fit the model: '0.weight' is \(8, 4\) in the file and \(4, 4\)"):
        weights.loaded(net(), folder)


def test_a_folder_without_a_plan_and_without_weights(tmp_path: Path, folder: Path) -> None:
    (folder / saved.WEIGHTS).unlink()
    with pytest.raises(InvalidInput, match="no such weights file"):
        weights.loaded(net(), folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InvalidInput, match=r"is no pruned model: it has no plan.json; make one with: edgedl prune TASK"
    ):
        weights.loaded(net(), tmp_path / "empty")


def changed(**fields: Any) -> Plan:
    return Plan(**{**vars(PLAN), **fields})


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (changed(cuts=(Cut("9", "out", KEPT),)), "prunes '9', and the model has no such layer"),
        (changed(cuts=(Cut("0.weight", "out", KEPT),)), "has no such layer"),
        (changed(cuts=(Cut("1", "out", KEPT),)), "cuts 'out' of '1', which a ReLU does not have"),
        (changed(cuts=(Cut("0", "hidden_l0", KEPT),)), "which a Linear does not have"),
        (changed(cuts=(Cut("0", "weight.7", KEPT),)), "which a Linear does not have"),
        (changed(cuts=(Cut("0", "training.0", KEPT),)), "which a Linear does not have"),
        (changed(cuts=(Cut("0", "out", ()),)), "not ascending numbers from 0 to 7"),
        (changed(cuts=(Cut("0", "out", (0, 8)),)), "not ascending numbers from 0 to 7"),
        (changed(cuts=(Cut("0", "out", (-1, 3)),)), "not ascending numbers from 0 to 7"),
        (changed(cuts=(Cut("0", "out", (3, 3)),)), "not ascending numbers from 0 to 7"),
        (changed(attributes=(Attribute("0", "in_features", 99),)), "to 99: expected a whole number that it has"),
        (changed(attributes=(Attribute("0", "forward", 1),)), "sets 'forward' of '0' to 1: expected"),
        (changed(attributes=(Attribute("0", "training", 1),)), "sets 'training' of '0' to 1: expected"),
        (changed(attributes=(Attribute("0", "in_features", 0),)), "to 0: expected"),
    ],
)
def test_plans_that_cannot_be_carried_out(plan: Plan, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        plan.apply(net())
    assert "\n" not in str(caught.value)


TEXT = saved.to_json(PLAN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "a list, expected kind"),
        ("{}", "kind None, expected 'edgedl-pruning-plan'"),
        (TEXT.replace('"schema_version":1', '"schema_version":2'), "has schema version 2, expected 1"),
        (TEXT.replace('"module"', '"modul"'), "plan.cuts.0. has no 'module'"),
        (TEXT.replace("[0,2,3,7]", '"0237"'), "plan.cuts.0..kept is a str, expected a list"),
        (TEXT.replace("[0,2,3,7]", "[0.5]"), "plan.cuts.0..kept.0. is a float, expected a int"),
        (TEXT.replace('"plan":{', '"plan":1,"x":{'), "plan is a int, expected a dict"),
    ],
)
def test_files_that_are_no_plans(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / saved.PLAN).write_text(text)
    with pytest.raises(InvalidInput, match=said) as caught:
        saved.plan_in(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "LARGEST", 10)
    (tmp_path / saved.PLAN).write_text(TEXT)
    with pytest.raises(InvalidInput, match="too large for a pruning plan"):
        saved.plan_in(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
places = st.sampled_from([("plan", "model"), ("plan", "method"), ("plan", "cuts"), ("plan", "cuts", 0, "module"),
                          ("plan", "cuts", 0, "side"), ("plan", "cuts", 0, "kept"), ("plan", "cuts", 1, "kept", 0),
                          ("plan", "attributes"), ("schema_version",), ("kind",)])  # fmt: skip


@given(places, json_values)
def test_any_value_in_any_place_is_read_or_refused_in_one_sentence(place: tuple[Any, ...], value: Any) -> None:
    data = json.loads(TEXT)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    _read_or_refused(json.dumps(data))


@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=1, max_size=4))
@settings(max_examples=300)
def test_any_mutation_is_read_or_refused_in_one_sentence(place: int, junk: bytes) -> None:
    data = TEXT.encode()
    _read_or_refused((data[:place] + junk + data[place + len(junk) :]).decode(errors="replace"))


def _read_or_refused(text: str) -> None:
    try:
        pruned = saved.from_json(text, "plan.json").apply(net())
    except InvalidInput as error:
        assert "\n" not in str(error)
    else:
        assert all(tensor.isfinite().all() for tensor in pruned.state_dict().values())


@given(st.data())
@settings(max_examples=50)
def test_every_plan_survives_its_text(data: st.DataObject) -> None:
    kept = tuple(sorted(data.draw(st.sets(st.integers(0, 7), min_size=1))))
    plan = Plan(PLAN.model, "structured", (Cut("0", "out", kept), Cut("2", "in", kept)), ())
    assert saved.from_json(saved.to_json(plan), "x") == plan
    assert plan.apply(net()).get_parameter("0.weight").shape == (len(kept), 4)


def test_a_replaced_root(tmp_path: Path) -> None:
    """A layer that has to be replaced may be the whole model."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 4, batch_first=True)
    plan = Plan(fingerprint(attention), cuts=(Cut("", "heads", (0, 3)),))
    saved.save(plan, plan.apply(attention), tmp_path)
    loaded = weights.loaded(nn.MultiheadAttention(8, 4, batch_first=True), tmp_path)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(loaded(x, x, x)[0], plan.apply(attention)(x, x, x)[0])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_slim_attention_with_all_heads_is_attention(batch_first: bool, need_weights: bool) -> None:
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(8, 4, batch_first=batch_first)
    slim = Plan(fingerprint(whole), cuts=(Cut("", "heads", (0, 1, 2, 3)),)).apply(whole)
    query, memory = torch.randn(2, 3, 8), torch.randn(2, 3 if not batch_first else 5, 8)
    memory = memory if batch_first else torch.randn(6, 3, 8)
    rows, times = (2, 5) if batch_first else (3, 6)
    padding = torch.zeros(rows, times, dtype=torch.bool)
    padding[:, -1] = True
    causal = torch.ones(3 if batch_first else 2, times, dtype=torch.bool).triu(2)
    for keywords in (
        {},
        {"key_padding_mask": padding},
        {"attn_mask": causal},
        {"attn_mask": causal, "key_padding_mask": padding},
    ):
        want = whole(query, memory, memory, need_weights=need_weights, **keywords)
        got = slim(query, memory, memory, need_weights=need_weights, **keywords)
        torch.testing.assert_close(got[0], want[0])
        assert (got[1] is None) == (want[1] is None)
        if need_weights:
            torch.testing.assert_close(got[1], want[1])
            each = slim(query, memory, memory, average_attn_weights=False, **keywords)[1]
            torch.testing.assert_close(each, whole(query, memory, memory, average_attn_weights=False, **keywords)[1])
    alone = slim(query[0], query[0], query[0], need_weights=need_weights)
    torch.testing.assert_close(alone[0], whole(query[0], query[0], query[0], need_weights=need_weights)[0])


def test_the_nets_are_of_their_kinds() -> None:
    assert all(sum(p.numel() for p in nets.task(name).model().parameters()) < 20_000 for name in nets.NETS)
