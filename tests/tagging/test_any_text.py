"""Ten thousand texts that no one would write: whatever a client sends, offsets are exact and nothing is raised."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.tiny_export import make_export
from support.tiny_student import SCHEME

from xtremedistil_ner.tagging.tagger import Tagger

SCRIPTS = {
    "Latin": "Aa-Zz ÀÁâãÄåæçèÉêëÌíîïÐñòóôõÖøÙúûüÝþÿĀāĂ㥹ĆćĊċČčĎďĐđĒēĖėĘęĚěĞ"
    "ğĢģĦħĪīİıĶķĹĽľŁłŃńŅņŇňŐőŒœŔŕŘřŚśŞşŠšŢţŤťŪūŮůŰűŹźŻżŽžƏəȘșȚțẞß",
    "Cyrillic": "АБВГҐДЂЃЕЀЁЄЖЗЅИЍІЇЙЈКЛЉМНЊОПРСТЋЌУЎФХЦЧЏШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Greek": "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩάέήίόύώαβγδεζηθικλμνξοπρστυφχψως",
    "Arabic and Persian": "ابتثجحخدذرزسشصضطظعغفقكلمنهويپچژگکیءآأؤإئةىًٌٍَُِّْ٠١٢٣۴۵۶",
    "Hebrew": "אבגדהוזחטיכךלמםנןסעפףצץקרשתְֱֲֳִֵֶַָֹֻּֽ׳״",
    "Devanagari": "अआइईउऊऋएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूृेैोौ्ंः़",
    "Bengali": "অআইঈউঊএঐওঔকখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহািীুূেৈোৌ্ংঃ",
    "Tamil": "அஆஇஈஉஊஎஏஐஒஓஔகஙசஞடணதநபமயரலவழளறனாிீுூெேைொோௌ்",
    "East Asian": "中文日本語漢字かなカナ한국어ㄱㄴㄷ。、「」々〆",
    "Thai and others": "กขคงจฉชซญฎฏฐดตถทธนบปผฝพฟภมยรลวศษสหอฮะัาำิีእግዚአብሔርქართულიհայերեն",
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd"
    "\U0001f1fa\U0001f1e6\u2764\ufe0f\U0001f9d1\u200d\U0001f4bb\u20e3",
    "marks and controls": "\0\x01\x07\x1b\x7f\u0085\u00a0\u00ad\u061c\u180e"
    "\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c"
    "\u202d\u202e\u2060\u2066\u2067\u2069\u3000\ufeff\ufff9\ufffd\uffff\U000e0001\U0010ffff\u0301\u0308\u0327\u0489",
    "spaces": " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f",
    "punctuation": ".,;:!?'\"«»„“”()[]{}<>/\\|@#$%^&*-–—_=+~`°§…¿¡؟،।॥",
    "lone surrogates": "\ud800\udbff\udc00\udfff",
}
WORD = st.one_of([st.text(alphabet, min_size=1, max_size=12) for alphabet in SCRIPTS.values()])
MIXED = st.lists(st.one_of(WORD, st.sampled_from([" ", "  ", "\n", ""])), max_size=40).map("".join)
SPACED = st.lists(WORD, max_size=40).map(" ".join)
HUGE = st.tuples(st.sampled_from("aÆя中\u0301\0\U0001f600\ud800-"), st.sampled_from(["", " x", "\u200b"])).map(
    lambda parts: parts[0] * 100_000 + parts[1]
)
TEXT = st.one_of(MIXED, MIXED, SPACED, SPACED, st.text(max_size=200), st.text(max_size=2000))
ARBITRARY = settings(
    max_examples=1_000,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return Tagger.from_pretrained(make_export(tmp_path_factory.mktemp("any")))


def check(text, entities):
    end = 0
    for entity in entities:
        assert end <= entity.start < entity.end <= len(text), "sorted and disjoint"
        assert text[entity.start : entity.end] == entity.text
        assert entity.type in SCHEME.types
        assert 0 < entity.score <= 1
        end = entity.end


@ARBITRARY
@given(texts=st.lists(TEXT, min_size=10, max_size=10))
def test_ten_thousand_texts_have_exact_sorted_and_disjoint_entities(tagger, texts):
    for text, entities in zip(texts, tagger.tag(texts), strict=True):
        check(text, entities)


@ARBITRARY
@given(sentences=st.lists(st.lists(st.one_of(WORD, st.just(""), MIXED), max_size=60), min_size=10, max_size=10))
def test_ten_thousand_sentences_have_as_many_legal_tags_as_words(tagger, sentences):
    for words, tags in zip(sentences, tagger.tag_words(sentences), strict=True):
        assert len(tags) == len(words)
        for previous, tag in zip(("O", *tags), tags, strict=False):
            assert not tag.startswith("I-") or previous[2:] == tag[2:]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=SPACED, huge=HUGE, after=SPACED)
def test_a_word_of_a_hundred_thousand_characters_disturbs_nothing(tagger, before, huge, after):
    text = f"{before} {huge} {after}"
    (entities,) = tagger.tag([text])
    check(text, entities)
    (tags,) = tagger.tag_words([["a", huge, "b"]])
    assert len(tags) == 3
