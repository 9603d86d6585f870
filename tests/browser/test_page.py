"""The demo page in a real browser: what it shows, whom it talks to, and that everyone can use it."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from xtremedistil_ner.languages import WIKIANN_LANGUAGES, language_name
from xtremedistil_ner.serve import __file__ as serve_file

pytestmark = pytest.mark.browser

EXAMPLES = json.loads((Path(serve_file).parent / "page" / "examples.json").read_text(encoding="utf-8"))
AXE = os.environ.get("XNER_AXE")
# Eighteen, as in OntoNotes: the most types that a usual corpus has.
MANY_TYPES = (
    "CARDINAL DATE EVENT FAC GPE LANGUAGE LAW LOC MONEY NORP ORDINAL ORG PERCENT PERSON PRODUCT QUANTITY TIME "
    "WORK_OF_ART"
).split()
HOSTILE = "<img src=x onerror=\"document.title='run'\"> &amp; <script>document.title='run'</script>"
REFUSED_BY_TESTS = "Failed to load resource: the server responded with a status of "


class Visit:
    """A page with the demo open, and what it asked for and complained about since."""

    def __init__(self, context, url):
        self.url = url
        self.requests, self.complaints = [], []
        self.page = context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")

    def _hear(self, message):
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED_BY_TESTS):
            self.complaints.append(message.text)

    @property
    def output(self):
        return self.page.locator("#output")

    @property
    def entities(self):
        return self.page.locator("#output .entity")

    @property
    def status(self):
        return self.page.locator("#status")

    @property
    def alert(self):
        return self.page.get_by_role("alert")

    def send(self, text):
        """Ask for a text's entities, by keyboard."""
        self.page.get_by_label("Text", exact=True).fill(text)
        with self.page.expect_request("**/v1/tag"):
            self.page.get_by_label("Text", exact=True).press("Control+Enter")

    def tag(self, text):
        """Have a text tagged, by the button."""
        self.page.get_by_label("Text", exact=True).fill(text)
        self.page.get_by_role("button", name="Tag", exact=True).click()
        expect(self.status).to_contain_text("round trip")

    def choose(self, language):
        """Have the example of a language tagged."""
        self.page.get_by_label("Example").select_option(language)
        expect(self.output).to_have_text(EXAMPLES[language]["text"], use_inner_text=False)


@pytest.fixture
def open_page(browser, service_url):
    """Opens the demo, with `answers` in place of the service's; nothing may go elsewhere or complain."""
    visits, contexts = [], []

    def open_it(url=service_url, answers=None, init_script=None, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        if init_script:
            context.add_init_script(init_script)
        for path, answer in (answers or {}).items():
            context.route(f"**/{path}", answer)
        visits.append(Visit(context, url))
        return visits[-1]

    yield open_it
    for context in contexts:
        context.close()
    for visit in visits:
        assert visit.complaints == []
        assert [url for url in visit.requests if not url.startswith((visit.url, "data:"))] == []


def answer_with(*entities):
    """A tagger that finds the same in every text, each entity as (start, end, type)."""

    def answer(route):
        text = route.request.post_data_json["texts"][0]
        found = [
            {"text": text[start:end], "type": kind, "start": start, "end": end, "score": 0.875 - index / 100}
            for index, (start, end, kind) in enumerate(entities)
        ]
        route.fulfill(json={"results": [{"id": None, "entities": found}]})

    return answer


def refuse_with(status, detail, **headers):
    return lambda route: route.fulfill(status=status, json={"detail": detail}, headers=headers)


def describe_model(**changes):
    limits = {"texts": 128, "characters": 100_000, "body_bytes": 1_000_000}
    model = {"name": "demo", "types": ["LOC"], "synthetic": False, "languages": {}, "limits": limits, **changes}
    return lambda route: route.fulfill(json=model)


def luminance(rgb):
    """Relative luminance of an sRGB colour. Source: WCAG 2.2, definition of relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def painted(page, selector, colour, pseudo=None):
    """Colours of all elements that a selector finds, as (red, green, blue): what a canvas makes of them."""
    return page.evaluate(
        """([selector, colour, pseudo]) => {
            const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
            return [...document.querySelectorAll(selector)].map((element) => {
                canvas.fillStyle = getComputedStyle(element, pseudo)[colour];
                canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
            });
        }""",
        [selector, colour, pseudo],
    )


def overflow(page):
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


# ---- Text and entities ----


def test_there_is_an_example_for_every_language_under_its_name():
    assert tuple(EXAMPLES) == WIKIANN_LANGUAGES
    assert {code: example["name"] for code, example in EXAMPLES.items()} == {c: language_name(c) for c in EXAMPLES}


def test_every_example_is_shown_as_it_is_with_marks_where_the_tagger_said(open_page):
    answers = []
    visit = open_page()
    visit.page.on("response", lambda answer: answers.append(answer) if answer.url.endswith("v1/tag") else None)
    for language, example in EXAMPLES.items():
        visit.choose(language)
        expect(visit.status).to_contain_text(f"in {len(example['text'])} characters")
        assert visit.output.evaluate("element => element.textContent") == example["text"]
        entities = answers[-1].json()["results"][0]["entities"]
        assert visit.entities.all_text_contents() == [example["text"][e["start"] : e["end"]] for e in entities]
        assert visit.entities.evaluate_all("marks => marks.map((mark) => mark.dataset.type)") == [
            e["type"] for e in entities
        ]
        assert visit.output.get_attribute("lang") == visit.page.locator("#text").get_attribute("lang") == language
    assert len(answers) == len(EXAMPLES)


def test_white_space_is_kept(open_page):
    text = "  Ada\tLovelace \n\n   met  Charles\u00a0Babbage\n\tin London  "
    visit = open_page()
    visit.tag(text)
    assert visit.output.evaluate("element => element.textContent") == text
    assert visit.output.evaluate("element => getComputedStyle(element).whiteSpace") == "pre-wrap"


@pytest.mark.parametrize("before", ["👩‍🚀 ", "𝔸𝔹 ", "🇺🇳🇺🇳", "é̂ 😀😀"])
def test_characters_beyond_16_bits_before_an_entity_do_not_shift_it(open_page, before):
    text = f"{before}Warsaw 😀 and Paris"
    first, second = text.index("Warsaw"), text.index("Paris")
    tagger = answer_with((first, first + 6, "LOC"), (second, second + 5, "LOC"))
    visit = open_page(answers={"v1/tag": tagger})
    visit.tag(text)
    assert visit.entities.all_text_contents() == ["Warsaw", "Paris"]
    assert visit.output.evaluate("element => element.textContent") == text
    expect(visit.status).to_contain_text(f"in {len(text)} characters")


@pytest.mark.parametrize("language", ["ar", "fa", "he"])
def test_right_to_left_text_runs_from_right_to_left(open_page, language):
    first, second = EXAMPLES[language]["text"].split()[:2]
    tagger = answer_with((0, len(first), "PER"), (len(first) + 1, len(first) + 1 + len(second), "LOC"))
    visit = open_page(answers={"v1/tag": tagger})
    visit.choose(language)
    for selector in ("#text", "#output", "#rows th >> nth=0"):
        assert visit.page.locator(selector).evaluate("element => getComputedStyle(element).direction") == "rtl"
    boxes = [visit.entities.nth(index).bounding_box() for index in range(2)]
    assert boxes[0]["x"] > boxes[1]["x"]


@pytest.mark.parametrize("language", ["ar", "en"])
def test_a_label_is_isolated_from_the_direction_of_the_text(open_page, language):
    visit = open_page(answers={"v1/tag": answer_with((2, 9, "PER"))})
    visit.choose(language)
    assert visit.entities.first.evaluate("mark => getComputedStyle(mark, '::after').unicodeBidi") == "isolate"


def test_each_line_of_mixed_text_has_its_own_direction(open_page):
    visit = open_page(answers={"v1/tag": answer_with((0, 5, "PER"), (12, 16, "PER"))})
    visit.tag("Marie Curie\nنجيب محفوظ")
    latin, arabic = (visit.entities.nth(index).bounding_box() for index in (0, 1))
    middle = visit.output.bounding_box()["x"] + visit.output.bounding_box()["width"] / 2
    assert latin["x"] < middle < arabic["x"]


def test_markup_in_a_text_is_shown_and_never_run(open_page):
    end = HOSTILE.index(">") + 1
    visit = open_page(answers={"v1/tag": answer_with((0, end, "<b>X</b>"), (end, len(HOSTILE), "LOC"))})
    visit.tag(HOSTILE)
    assert visit.output.evaluate("element => element.textContent") == HOSTILE
    assert visit.page.locator("#result img, #result script, #result b").count() == 0
    assert visit.page.title() == "xner: named entities in text"


def test_the_list_has_text_type_score_and_place_of_every_entity(open_page):
    visit = open_page(answers={"v1/tag": answer_with((0, 3, "PER"), (11, 17, "LOC"))})
    visit.tag("Ada was in London.")
    rows = [row.locator("th, td").all_inner_texts() for row in visit.page.locator("#rows tr").all()]
    assert rows == [["Ada", "PER", "0.88", "0–3"], ["London", "LOC", "0.87", "11–17"]]


def test_the_line_of_status_says_what_was_found_in_how_much_and_how_long_it_took(open_page):
    visit = open_page(answers={"v1/tag": answer_with((0, 3, "PER"))})
    visit.tag("Ada was in London.")
    assert visit.status.get_attribute("role") == "status"
    assert visit.status.inner_text().startswith("1 entity in 18 characters, ")
    assert visit.status.inner_text().endswith(" ms round trip.")


def test_a_text_without_entities_is_shown_without_a_list(open_page):
    visit = open_page(answers={"v1/tag": answer_with()})
    visit.tag("nothing here")
    expect(visit.status).to_contain_text("No entities in 12 characters")
    expect(visit.output).to_have_text("nothing here")
    expect(visit.page.locator("#list")).to_be_hidden()


def test_an_entity_leads_to_its_row(open_page):
    visit = open_page(answers={"v1/tag": answer_with((0, 3, "PER"), (11, 17, "LOC"))})
    visit.tag("Ada was in London.")
    visit.entities.nth(1).click()
    expect(visit.page.locator("#rows tr:target")).to_contain_text("London")


def test_copied_json_is_what_the_tagger_answered(open_page):
    visit = open_page(permissions=["clipboard-read", "clipboard-write"])
    with visit.page.expect_response("**/v1/tag") as answer:
        visit.choose("ar")
    visit.page.get_by_role("button", name="Copy JSON").click()
    expect(visit.page.locator("#copied")).to_have_text("Copied.")
    copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
    assert copied == {"results": answer.value.json()["results"]}


def test_json_can_be_copied_where_the_page_is_not_secure(open_page):
    visit = open_page(init_script="Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    with visit.page.expect_response("**/v1/tag") as answer:
        visit.choose("en")
    button = visit.page.get_by_role("button", name="Copy JSON")
    button.click()
    expect(visit.page.locator("#copied")).to_have_text("Copied.")
    expect(button).to_be_focused()
    visit.page.locator("#text").fill("")
    visit.page.locator("#text").press("Control+V")
    assert json.loads(visit.page.locator("#text").input_value()) == {"results": answer.value.json()["results"]}


# ---- Requests ----


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_an_empty_text_is_asked_for_and_not_sent(open_page, text):
    visit = open_page()
    visit.page.locator("#text").fill(text)
    visit.page.get_by_role("button", name="Tag", exact=True).click()
    expect(visit.status).to_contain_text("There is no text yet")
    expect(visit.page.locator("#text")).to_be_focused()
    assert not [url for url in visit.requests if url.endswith("v1/tag")]


@pytest.mark.parametrize("status", [413, 415, 422])
def test_a_refusal_is_shown_as_text_in_an_alert(open_page, status):
    visit = open_page(answers={"v1/tag": refuse_with(status, HOSTILE)})
    visit.send("Ada")
    expect(visit.alert).to_have_text(HOSTILE, use_inner_text=False)
    assert visit.alert.locator("*").count() == 0
    expect(visit.page.get_by_role("button", name="Try again")).to_be_hidden()
    expect(visit.page.locator("#result")).to_be_hidden()
    expect(visit.page.locator("#tag")).to_have_attribute("aria-busy", "false")


def test_a_busy_service_can_be_tried_again(open_page):
    answers = [refuse_with(503, "Too many requests at a time.", **{"Retry-After": "3"}), answer_with((0, 3, "PER"))]
    visit = open_page(answers={"v1/tag": lambda route: answers.pop(0)(route)})
    visit.send("Ada")
    expect(visit.alert).to_have_text("Too many requests at a time. Please try again in 3 seconds.")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.entities).to_have_text("Ada")
    expect(visit.alert).to_be_empty()
    expect(visit.page.get_by_role("button", name="Try again")).to_be_hidden()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), "The service answered 502."),
        (lambda route: route.fulfill(body="<h1>Hello</h1>"), "The answer of the service cannot be read."),
        (lambda route: route.fulfill(json={"results": []}), "The answer of the service cannot be read."),
    ],
)
def test_an_answer_from_something_else_is_named_as_such(open_page, answer, message):
    visit = open_page(answers={"v1/tag": answer})
    visit.send("Ada")
    expect(visit.alert).to_have_text(message)


def test_a_service_out_of_reach_can_be_tried_again(open_page):
    visit = open_page(answers={"v1/tag": lambda route: route.abort()})
    visit.send("Ada")
    expect(visit.alert).to_have_text("The service cannot be reached.")
    expect(visit.page.get_by_role("button", name="Try again")).to_be_visible()
    assert [complaint for complaint in visit.complaints if "net::ERR_FAILED" not in complaint] == []
    visit.complaints.clear()


def test_a_failure_takes_the_result_of_an_older_text_away(open_page):
    answers = [answer_with((0, 3, "PER")), refuse_with(422, "No.")]
    visit = open_page(answers={"v1/tag": lambda route: answers.pop(0)(route)})
    visit.tag("Ada")
    visit.send("Bob")
    expect(visit.alert).to_have_text("No.")
    expect(visit.page.locator("#result")).to_be_hidden()
    expect(visit.status).to_be_empty()


@contextmanager
def held_requests(context):
    """Requests to the tagger that wait until they are answered by hand."""
    held = []
    context.route("**/v1/tag", lambda route: held.append(route))
    yield held


def test_a_stale_answer_does_not_overwrite_a_newer_one(open_page):
    # A request whose abort comes too late: the browser hands its answer over all the same.
    ignore_aborts = "const real = fetch; window.fetch = (url, options) => real(url, {...options, signal: undefined})"
    visit = open_page(init_script=ignore_aborts)
    with held_requests(visit.page.context) as held:
        for text in ("Old text", "New text"):
            visit.send(text)
        old, new = held
        answer_with((0, 3, "PER"))(new)
        expect(visit.output).to_have_text("New text")
        with visit.page.expect_response("**/v1/tag"):
            answer_with((4, 8, "LOC"))(old)
        visit.page.wait_for_timeout(200)  # nothing is to happen; long enough for it to happen
    expect(visit.output).to_have_text("New text")
    assert visit.entities.all_text_contents() == ["New"]
    expect(visit.page.locator("#tag")).to_have_attribute("aria-busy", "false")


def test_a_newer_text_aborts_the_request_of_an_older_one(open_page):
    visit = open_page()
    failed = []
    visit.page.on("requestfailed", lambda request: failed.append(request.post_data_json["texts"]))
    with held_requests(visit.page.context) as held:
        for text in ("Old text", "New text"):
            visit.send(text)
        answer_with()(held[1])
        expect(visit.output).to_have_text("New text")
    assert failed == [["Old text"]]
    expect(visit.alert).to_be_empty()


def test_the_button_is_busy_and_usable_while_a_request_runs(open_page):
    visit = open_page()
    button = visit.page.get_by_role("button", name="Tag", exact=True)
    with held_requests(visit.page.context) as held:
        visit.send("Ada")
        expect(button).to_have_attribute("aria-busy", "true")
        expect(button).to_be_enabled()
        answer_with()(held[0])
        expect(button).to_have_attribute("aria-busy", "false")


def test_the_whole_text_is_one_text_of_the_request(open_page):
    visit = open_page()
    with visit.page.expect_request("**/v1/tag") as request:
        visit.tag("Ada\nin\nLondon")
    assert request.value.post_data_json == {"texts": ["Ada\nin\nLondon"]}


def test_the_page_works_behind_a_path(open_page, prefixed_service_url):
    visit = open_page(url=prefixed_service_url)
    visit.choose("en")
    expect(visit.entities.first).to_have_text("Marie Curie")
    expect(visit.page.locator("#model-name")).to_have_text("stub")


def test_the_watch_on_complaints_hears_a_breach_of_the_security_policy(open_page):
    visit = open_page()
    visit.page.evaluate("document.head.append(Object.assign(document.createElement('style'), {textContent: 'a{}'}))")
    visit.page.wait_for_timeout(100)
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)
    visit.complaints.clear()


# ---- Examples and model ----


def test_choosing_an_example_by_keyboard_tags_it(open_page):
    visit = open_page()
    visit.page.locator("#example").focus()
    visit.page.keyboard.press("ArrowDown")
    expect(visit.output).to_have_text(EXAMPLES["af"]["text"])


def test_pasted_text_has_no_language_and_edited_text_keeps_its_own(open_page):
    visit = open_page()
    area = visit.page.locator("#text")
    visit.choose("hi")
    area.press("End")
    area.press("!")
    expect(area).to_have_attribute("lang", "hi")
    area.press("Control+A")
    area.press("Control+X")
    expect(area).to_have_attribute("lang", "")
    visit.choose("hi")
    area.press("Control+A")
    area.press("Control+V")
    expect(area).to_have_attribute("lang", "")
    expect(visit.page.get_by_label("Example")).to_have_value("")


def test_the_page_says_when_a_model_is_of_generated_text_and_only_then(open_page):
    for synthetic in (True, False):
        visit = open_page(answers={"v1/model": describe_model(synthetic=synthetic)})
        expect(visit.page.get_by_role("note")).to_have_count(int(synthetic))


def test_languages_that_the_model_was_not_trained_on_are_marked(open_page):
    model = describe_model(languages={"en": {"name": "English", "f1": 0.5}})
    labels = open_page(answers={"v1/model": model}).page.locator("#example option").all_text_contents()
    assert len(labels) == 1 + len(EXAMPLES)
    assert [label for label in labels[1:] if "(not trained on)" not in label] == ["English"]


def test_no_language_is_marked_where_the_model_names_none(open_page):
    visit = open_page(answers={"v1/model": describe_model()})
    assert "not trained on" not in visit.page.locator("#example").text_content()
    assert "not known" in visit.page.locator("#model-languages").text_content()


def test_the_model_is_described_with_the_score_of_each_language(open_page):
    languages = {"en": {"name": "English", "f1": 0.7149}, "xx": {"name": "<b>Other</b>", "f1": None}}
    visit = open_page(answers={"v1/model": describe_model(name="small", types=["LOC", "ODD"], languages=languages)})
    visit.page.get_by_text("About the model").click()
    rows = [row.locator("th, td").all_inner_texts() for row in visit.page.locator("#model-rows tr").all()]
    assert rows == [["English", "en", "71.5"], ["<b>Other</b>", "xx", "not measured"]]
    assert visit.page.locator("#model-types li").all_inner_texts() == ["LOC place", "ODD"]
    expect(visit.page.locator("#model-limit")).to_have_text("100,000 characters")
    expect(visit.page.locator("#model-name")).to_have_text("small")


def test_texts_are_tagged_without_a_description_of_the_model(open_page):
    visit = open_page(answers={"v1/model": refuse_with(503, "Starting.")})
    expect(visit.alert).to_have_text("v1/model could not be loaded (503).")
    visit.choose("en")
    expect(visit.alert).to_be_empty()


# ---- For everyone ----


def test_the_score_of_an_entity_is_reached_by_keyboard_alone(open_page):
    visit = open_page(answers={"v1/tag": answer_with((0, 3, "PER"))})
    keyboard = visit.page.keyboard
    keyboard.press("Tab")
    expect(visit.page.get_by_label("Text", exact=True)).to_be_focused()
    keyboard.type("Ada was in London.")
    keyboard.press("Control+Enter")
    expect(visit.entities).to_have_count(1)
    for _ in range(3):  # over the button and the examples
        keyboard.press("Tab")
    mark = visit.entities.first
    expect(mark).to_be_focused()
    expect(mark).to_have_accessible_name("Ada PER")
    expect(mark).to_have_accessible_description("Score 0.88")
    expect(visit.page.locator("#tip")).to_have_text("PER score 0.88, characters 0–3")
    assert mark.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    keyboard.press("Escape")
    expect(visit.page.locator("#tip")).to_be_hidden()


def test_the_pointer_shows_a_score_and_may_move_onto_it(open_page):
    visit = open_page(answers={"v1/tag": answer_with((0, 3, "PER"))})
    visit.tag("Ada was in London.")
    tip = visit.page.locator("#tip")
    visit.entities.first.hover()
    expect(tip).to_contain_text("score 0.88")
    tip.hover()
    expect(tip).to_be_visible()
    visit.page.mouse.move(1, 1)
    expect(tip).to_be_hidden()


@pytest.mark.parametrize("width", [320, 640, 1280])
def test_nothing_is_wider_than_the_window(open_page, width):
    trained = list(EXAMPLES)[::2]  # the long notes on the others' options count as well
    languages = {code: {"name": EXAMPLES[code]["name"], "f1": 0.5} for code in trained}
    model = describe_model(name="x" * 80, types=MANY_TYPES, languages=languages, synthetic=True)
    visit = open_page(answers={"v1/model": model}, viewport={"width": width, "height": 700})
    visit.page.get_by_text("About the model").click()
    for language in ("de", "ru", "ar", "he", "hi", "ta"):
        visit.choose(language)
        assert overflow(visit.page) == 0
        visit.entities.last.focus()
        assert overflow(visit.page) == 0


def test_a_word_without_a_break_and_a_long_type_fit_a_narrow_window(open_page):
    tagger = answer_with((0, 400, "WORK_OF_ART"), (99_999, 100_000, "LANGUAGE"))
    visit = open_page(answers={"v1/tag": tagger}, viewport={"width": 320, "height": 700})
    visit.tag("W" * 100_000)
    visit.entities.last.focus()
    assert overflow(visit.page) == 0


def test_the_tip_stands_beside_its_entity_and_does_not_hide_it(open_page):
    tagger = answer_with((0, 5, "PER"), (9, 30, "ORG"), (31, 36, "LOC"), (40, 50, "PER"))
    visit = open_page(answers={"v1/tag": tagger}, viewport={"width": 320, "height": 700})
    for language in ("en", "ar"):
        visit.choose(language)
        for index in range(4):
            visit.entities.nth(index).focus()
            tip = visit.page.locator("#tip").bounding_box()
            first = visit.entities.nth(index).evaluate("mark => mark.getClientRects()[0].toJSON()")
            assert tip["y"] + tip["height"] == pytest.approx(first["top"], abs=1)
            assert 0 <= tip["x"] <= 320 - tip["width"]


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_is_light_or_dark_as_the_system_is(open_page, scheme, is_dark):
    visit = open_page(color_scheme=scheme)
    assert (luminance(painted(visit.page, "body", "backgroundColor")[0]) < 0.05) is is_dark
    assert (luminance(painted(visit.page, "body", "color")[0]) > 0.5) is is_dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_eighteen_types_have_colours_apart_and_their_labels_are_legible(open_page, scheme):
    tagger = answer_with(*((2 * index, 2 * index + 1, kind) for index, kind in enumerate(MANY_TYPES)))
    answers = {"v1/model": describe_model(types=MANY_TYPES), "v1/tag": tagger}
    visit = open_page(answers=answers, color_scheme=scheme)
    visit.tag("x " * len(MANY_TYPES))
    tints = painted(visit.page, ".entity", "backgroundColor")
    for pseudo in (None, "::after"):
        texts = painted(visit.page, ".entity", "color", pseudo)
        assert min(contrast(text, tint) for text, tint in zip(texts, tints, strict=True)) >= 4.5
    strokes = painted(visit.page, ".entity", "borderBottomColor")
    apart = [
        max(abs(a - b) for a, b in zip(one, other, strict=True))
        for index, one in enumerate(strokes)
        for other in strokes[:index]
    ]
    assert min(apart) >= 16


def test_nothing_turns_where_motion_is_unwelcome(open_page):
    for motion, name in (("no-preference", "turn"), ("reduce", "none")):
        visit = open_page(reduced_motion=motion)
        with held_requests(visit.page.context) as held:
            visit.send("Ada")
            button = visit.page.locator("#tag")
            expect(button).to_have_attribute("aria-busy", "true")
            assert button.evaluate("element => getComputedStyle(element, '::before').animationName") == name
            answer_with()(held[0])
            expect(button).to_have_attribute("aria-busy", "false")


def axe_violations(page):
    """What axe-core finds, as lines of rule and place."""
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    found = page.evaluate("rules => axe.run(document, rules)", rules)
    return [f"{rule['id']}: {node['target']}" for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.skipif(AXE is None, reason="XNER_AXE does not name an axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(open_page, scheme):
    languages = {"en": {"name": "English", "f1": 0.5}, "de": {"name": "German", "f1": None}}
    model = describe_model(types=["LOC", "ORG", "PER"], languages=languages, synthetic=True)
    visit = open_page(answers={"v1/model": model}, color_scheme=scheme)
    assert axe_violations(visit.page) == []
    visit.page.get_by_text("About the model").click()
    visit.choose("ar")
    visit.entities.first.focus()
    assert axe_violations(visit.page) == []
    visit.page.context.route("**/v1/tag", refuse_with(503, "Too much text is waiting."))
    visit.page.locator("#text").press("Control+Enter")
    expect(visit.alert).to_contain_text("waiting")
    assert axe_violations(visit.page) == []


@pytest.mark.skipif(AXE is None, reason="XNER_AXE does not name an axe.min.js")
def test_axe_sees_a_field_without_a_label(open_page):
    visit = open_page()
    visit.page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    assert axe_violations(visit.page) == ["label: ['input']"]
