"""The spaCy component: what `Tagger` finds, at the same places, in pipelines that are saved and loaded."""

from __future__ import annotations

import warnings

import pytest
from support.tiny_export import make_export

from xtremedistil_ner.tagging.tagger import Tagger

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    spacy = pytest.importorskip("spacy")

pytestmark = pytest.mark.peers
TEXTS = ["Abc de, fGh a.b ef gh Xyz", "", "ab \U0001f600 cd Ef  gh", "שלום Abc العالم", "a-b/c.d'e f(g)h"]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("spacy"))


def make_pipeline(export, **options):
    nlp = spacy.blank("xx")
    nlp.add_pipe("xner", config={"model": str(export), **options})
    return nlp


def entities_of(doc):
    return [(ent.text, ent.label_, ent.start_char, ent.end_char, ent._.xner_score) for ent in doc.ents]


def test_a_document_has_the_taggers_entities_alone_and_in_a_stream(export):
    nlp, tagger = make_pipeline(export), Tagger.from_pretrained(export)
    expected = [[(e.text, e.type, e.start, e.end, e.score) for e in entities] for entities in tagger.tag(TEXTS)]
    assert [entities_of(nlp(text)) for text in TEXTS] == expected
    assert [entities_of(doc) for doc in nlp.pipe(TEXTS, batch_size=2)] == expected
    assert [doc.text for doc in nlp.pipe(TEXTS)] == TEXTS


def test_a_token_that_a_border_cuts_is_split_and_its_entity_kept_or_the_entity_widened(export):
    """The tokenizer of spaCy takes `a-b/c.d'e` and the like for one token."""
    text = TEXTS[4]
    starts = {entity.start for entity in Tagger.from_pretrained(export).tag([text])[0]}
    plain = [token.idx for token in spacy.blank("xx")(text)]
    assert starts - set(plain), "else this shows nothing"
    split, widened = (make_pipeline(export, alignment=name)(text) for name in ("split", "widen"))
    assert starts <= {token.idx for token in split}
    assert [token.idx for token in widened] == plain
    assert widened.ents


def test_a_pipeline_is_saved_and_loaded(export, tmp_path):
    nlp = make_pipeline(export)
    nlp.to_disk(tmp_path / "nlp")
    assert entities_of(spacy.load(tmp_path / "nlp")(TEXTS[0])) == entities_of(nlp(TEXTS[0]))
