"""The table of students' kinds is whole: whatever a recipe can name has a network, a graph and names of its own."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import get_args

import pytest
from test_layers import existing_files, imports_of
from torch import nn

from xtremedistil_ner.models.kinds import KINDS, kind_of
from xtremedistil_ner.recipe.model_sections import OWN_KINDS, StudentSection

SIZES = {"vocabulary_size": 20, "representation_width": 11, "tags": 7}


def test_every_kind_that_a_recipe_can_name_is_in_the_table():
    assert tuple(KINDS) == get_args(StudentSection.model_fields["kind"].annotation)
    assert all(kind.name == name for name, kind in KINDS.items())


@pytest.mark.parametrize("field", ["model_type", "architecture", "shape", "network", "graph", "sentence"])
def test_no_two_kinds_share_what_tells_them_apart(field):
    assert len({getattr(kind, field) for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_makes_its_shape_and_network_and_is_found_by_both(kind):
    shape = kind.new_shape(StudentSection(kind=kind.name), **SIZES)
    network = kind.network(shape)
    assert kind_of(shape) is kind_of(network) is kind
    assert network.embeddings.num_embeddings == SIZES["vocabulary_size"]
    assert kind.sentence.format(shape=shape).endswith(".")
    assert callable(resolve_name(kind.graph))


def test_a_network_of_no_kind_is_an_error():
    with pytest.raises(KeyError):
        kind_of(nn.Linear(1, 1))


@pytest.mark.parametrize("name", OWN_KINDS)
def test_only_its_graph_and_the_table_know_a_network(name):
    network = f"xtremedistil_ner/models/{name}.py"
    found = {file for file in existing_files() if network in imports_of(file)}
    assert found == {"xtremedistil_ner/models/kinds.py", f"xtremedistil_ner/export/onnx_{name}.py"}
