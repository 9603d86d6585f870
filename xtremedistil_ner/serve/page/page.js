/**
 * The demo page: a text goes in, its entities come back, and the text is shown again with them marked in place.
 *
 * Offsets of entities count code points, strings of JavaScript count UTF-16 units; `codePoints` is the only place
 * where one becomes the other. All text reaches the document as text nodes or attributes, never as markup.
 *
 * @typedef {{text: string, type: string, start: number, end: number, score: number}} Entity
 * @typedef {{id: string | number | null, entities: Entity[]}} Result
 * @typedef {{name: string, native: string, text: string}} Example
 * @typedef {{name: string, f1: number | null}} Language
 * @typedef {{name: string, types: string[], synthetic: boolean, languages: Record<string, Language>,
 *   limits: {texts: number, characters: number, body_bytes: number}}} Model
 */

import { fetchJson } from "./files.js";
import { loadModel, tagTexts } from "./tagging.js";

// ---- Text and numbers. ----

/**
 * The characters that offsets count.
 *
 * @param {string} text
 * @returns {string[]}
 */
function codePoints(text) {
  return Array.from(text);
}

/**
 * A number as people read it: 100000 is 100,000.
 *
 * @param {number} value
 * @param {number} [digits] after the point
 * @returns {string}
 */
function formatNumber(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/**
 * A number of things: "1 entity", "2 entities".
 *
 * @param {number} count
 * @param {string} singular
 * @param {string} plural
 * @returns {string}
 */
function formatCount(count, singular, plural) {
  return `${formatNumber(count)} ${count === 1 ? singular : plural}`;
}

// ---- The document. ----

const byId = (id) => document.getElementById(id);

const form = byId("form");
const input = byId("text");
const tagButton = byId("tag");
const exampleSelect = byId("example");
const statusLine = byId("status");
const errorLine = byId("error");
const retryButton = byId("retry");
const resultSection = byId("result");
const output = byId("output");
const entityList = byId("list");
const entityRows = byId("rows");
const copyStatus = byId("copied");
const tip = byId("tip");

/**
 * An element with properties and children; strings become text.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** What the page remembers: the newest request, the results on show, and what has been loaded. */
const state = {
  request: new AbortController(),
  /** @type {Result[]} */
  results: [],
  /** @type {string[]} */
  types: [],
  /** @type {Record<string, Example>} */
  examples: {},
};

// ---- Types and their colours. ----

const TYPE_MEANINGS = { LOC: "place", ORG: "organisation", PER: "person", MISC: "other name" };
const FIRST_HUE = 255;
// Steps of 140 degrees meet 18 hues, 20 degrees apart and neighbours far from each other; the next 18 lie between.
const HUE_STEP = 140;
const HUES = 18;

/**
 * Give an element the colour of a type; page.css makes tints of the hue that are legible in light and dark.
 *
 * @param {HTMLElement} element
 * @param {string} type
 */
function setHue(element, type) {
  if (!state.types.includes(type)) state.types.push(type);
  const index = state.types.indexOf(type);
  const between = Math.floor(index / HUES) * (180 / HUES);
  element.style.setProperty("--hue", String((FIRST_HUE + index * HUE_STEP + between) % 360));
}

/**
 * The name of a type in its colour.
 *
 * @param {string} type
 * @returns {HTMLElement}
 */
function typeBadge(type) {
  const badge = create("bdi", { className: "type" }, type);
  setHue(badge, type);
  return badge;
}

// ---- Results. ----

/**
 * Show a text with its entities, and the list of them.
 *
 * @param {string} text
 * @param {string} language code of the text's language, empty where unknown
 */
function showResult(text, language) {
  const entities = state.results[0].entities;
  hideTip();
  output.lang = language;
  output.replaceChildren(...markedText(text, entities));
  entityRows.replaceChildren(...entities.map((entity, index) => entityRow(entity, index, language)));
  entityList.hidden = entities.length === 0;
  copyStatus.textContent = "";
  resultSection.hidden = false;
}

/**
 * A text as nodes: what lies between entities, and the entities.
 *
 * @param {string} text
 * @param {Entity[]} entities in the order of the text, none within another
 * @returns {(Node | string)[]}
 */
function markedText(text, entities) {
  const characters = codePoints(text);
  const slice = (start, end) => characters.slice(start, end).join("");
  const nodes = [];
  let position = 0;
  for (const [index, { type, start, end }] of entities.entries()) {
    nodes.push(slice(position, start), entityMark(slice(start, end), type, index));
    position = end;
  }
  nodes.push(slice(position));
  return nodes;
}

/**
 * An entity in the text. It links to its row in the list, so that it takes the keyboard's focus, and is described by
 * the score there. Its label is drawn by page.css from an attribute: copied text stays free of labels.
 *
 * @param {string} text
 * @param {string} type
 * @param {number} index
 * @returns {HTMLElement}
 */
function entityMark(text, type, index) {
  const mark = create("a", { className: "entity", href: `#entity-${index}` }, text);
  mark.dataset.type = type;
  mark.dataset.index = String(index);
  mark.setAttribute("aria-describedby", `score-head score-${index}`);
  setHue(mark, type);
  return mark;
}

/**
 * An entity in the list.
 *
 * @param {Entity} entity
 * @param {number} index
 * @param {string} language
 * @returns {HTMLElement}
 */
function entityRow({ text, type, start, end, score }, index, language) {
  return create(
    "tr",
    { id: `entity-${index}` },
    create("th", { scope: "row", dir: "auto", lang: language, className: "name" }, text),
    create("td", { dir: "auto" }, typeBadge(type)),
    create("td", { className: "number", id: `score-${index}` }, formatNumber(score, 2)),
    create("td", { className: "number" }, `${formatNumber(start)}–${formatNumber(end)}`),
  );
}

/** Take the results away, so that none stands under another text. */
function clearResult() {
  state.results = [];
  resultSection.hidden = true;
  hideTip();
}

/** Put the results on the clipboard, in the form of the service's answer. */
async function copyResults() {
  const isCopied = await copyText(JSON.stringify({ results: state.results }, null, 2));
  copyStatus.textContent = isCopied ? "Copied." : "The browser did not allow it.";
}

/**
 * Put a text on the clipboard.
 *
 * @param {string} text
 * @returns {Promise<boolean>} whether the browser did it
 */
async function copyText(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  // Over plain HTTP from another machine there is no clipboard object; the older command is all that is left.
  const focused = document.activeElement;
  const source = create("textarea", { className: "visually-hidden", value: text });
  document.body.append(source);
  source.select();
  const isCopied = document.execCommand("copy");
  source.remove();
  focused?.focus();
  return isCopied;
}

// ---- The tip: an entity's score beside it, under the pointer or with the focus. ----

/**
 * Show the tip of an entity.
 *
 * @param {HTMLElement} mark
 * @param {number} [pointerY] where the pointer is; an entity may run over several lines
 */
function showTip(mark, pointerY) {
  const { type, start, end, score } = state.results[0].entities[Number(mark.dataset.index)];
  tip.replaceChildren(
    typeBadge(type),
    ` score ${formatNumber(score, 2)}, characters ${formatNumber(start)}–${formatNumber(end)}`,
  );
  tip.hidden = false;
  placeTip(mark, pointerY);
}

/**
 * Put the tip above an entity, or below where there is no room; always touching it, so that the pointer can go there.
 *
 * @param {HTMLElement} mark
 * @param {number} [pointerY]
 */
function placeTip(mark, pointerY) {
  const boxes = [...mark.getClientRects()];
  const box = boxes.find(({ top, bottom }) => top <= pointerY && pointerY <= bottom) ?? boxes[0];
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(0, Math.min(box.left, document.documentElement.clientWidth - width));
  const top = box.top >= height ? box.top - height : box.bottom;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${top + window.scrollY}px`;
}

/** Hide the tip. */
function hideTip() {
  tip.hidden = true;
}

/** Follow the focus: its entity's tip, or none. */
function followFocus() {
  const mark = document.activeElement?.closest(".entity");
  if (mark) showTip(mark);
  else hideTip();
}

/**
 * Follow the pointer; where it is over nothing, the focus decides.
 *
 * @param {PointerEvent} event
 */
function followPointer({ target, clientY }) {
  const mark = target.closest(".entity");
  if (mark) showTip(mark, clientY);
  else if (!tip.contains(target)) followFocus();
}

// ---- Tagging what stands in the text area. ----

/** Tag the text and show what was found. A request that is still under way is given up, whatever it would bring. */
async function tagInput() {
  state.request.abort();
  state.request = new AbortController();
  const { signal } = state.request;
  const { value: text, lang: language } = input;
  showError(null);
  if (text.trim() === "") {
    askForText();
    return;
  }
  setBusy(true);
  statusLine.textContent = "Tagging…";
  try {
    const start = performance.now();
    const results = await tagTexts([text], signal);
    const elapsed = performance.now() - start;
    if (signal.aborted) return;
    state.results = results;
    showResult(text, language);
    statusLine.textContent = summary(text, results[0].entities, elapsed);
  } catch (error) {
    if (signal.aborted) return;
    clearResult();
    statusLine.textContent = "";
    showError(error);
  }
  setBusy(false);
}

/** Say that there is nothing to tag yet. */
function askForText() {
  setBusy(false);
  clearResult();
  statusLine.textContent = "There is no text yet. Write or paste one, or choose an example.";
  input.focus();
}

/**
 * What was found in how much text, and how long it took from here to the tagger and back.
 *
 * @param {string} text
 * @param {Entity[]} entities
 * @param {number} elapsed in milliseconds
 * @returns {string}
 */
function summary(text, entities, elapsed) {
  const found = entities.length === 0 ? "No entities" : formatCount(entities.length, "entity", "entities");
  const length = formatCount(codePoints(text).length, "character", "characters");
  return `${found} in ${length}, ${formatNumber(elapsed)} ms round trip.`;
}

/**
 * Show that a request is under way. The button stays usable: a newer request takes the place of an older one.
 *
 * @param {boolean} isBusy
 */
function setBusy(isBusy) {
  tagButton.setAttribute("aria-busy", String(isBusy));
}

/**
 * Show why there is no result; null takes an older message away.
 *
 * @param {Error | null} error
 */
function showError(error) {
  retryButton.hidden = !error?.mayRetry;
  if (error === null) {
    errorLine.textContent = "";
  } else if (error.waitSeconds) {
    const wait = formatCount(error.waitSeconds, "second", "seconds");
    errorLine.textContent = `${error.message} Please try again in ${wait}.`;
  } else {
    errorLine.textContent = error.message;
  }
}

// ---- Examples and their languages. ----

/** Put the chosen language's example into the text area and tag it. */
function tagExample() {
  const example = state.examples[exampleSelect.value];
  if (!example) return;
  input.value = example.text;
  input.lang = exampleSelect.value;
  tagInput();
}

/**
 * Forget the example's language once the text comes from somewhere else; edited by hand, it stays what it was.
 *
 * @param {InputEvent} event
 */
function forgetLanguage({ inputType }) {
  if (inputType !== "insertFromPaste" && inputType !== "insertFromDrop" && input.value !== "") return;
  input.lang = "";
  exampleSelect.value = "";
}

/**
 * Fill the select with a language for each example.
 *
 * @param {Record<string, Example>} examples
 * @param {Model | null} model null where nothing is known of it
 */
function showExamples(examples, model) {
  state.examples = examples;
  const trained = Object.keys(model?.languages ?? {});
  for (const [code, { name, native }] of Object.entries(examples)) {
    const isForeign = trained.length > 0 && !trained.includes(code);
    const label = exampleLabel(name, native) + (isForeign ? " (not trained on)" : "");
    exampleSelect.append(create("option", { value: code }, label));
  }
}

/**
 * A language in English and in itself. An option takes no markup; the isolates keep right-to-left names in place.
 *
 * @param {string} name
 * @param {string} native
 * @returns {string}
 */
function exampleLabel(name, native) {
  return name === native ? name : `${name} · \u2068${native}\u2069`;
}

// ---- The model. ----

/**
 * Describe the model.
 *
 * @param {Model} model
 */
function showModel(model) {
  const languages = Object.entries(model.languages);
  state.types = [...model.types];
  byId("synthetic").hidden = !model.synthetic;
  byId("model-name").textContent = model.name;
  byId("model-types").replaceChildren(...model.types.map(typeItem));
  byId("model-limit").textContent = formatCount(model.limits.characters, "character", "characters");
  byId("model-languages").textContent = languages.length === 0 ? "not known" : formatNumber(languages.length);
  byId("model-rows").replaceChildren(...languages.map(([code, language]) => scoreRow(code, language)));
  byId("model-scores").hidden = languages.length === 0;
  byId("model").hidden = false;
}

/**
 * A type and, where it is a usual abbreviation, what it means.
 *
 * @param {string} type
 * @returns {HTMLElement}
 */
function typeItem(type) {
  const item = create("li", {}, typeBadge(type));
  if (Object.hasOwn(TYPE_MEANINGS, type)) item.append(` ${TYPE_MEANINGS[type]}`);
  return item;
}

/**
 * A language of the model with its score.
 *
 * @param {string} code
 * @param {Language} language
 * @returns {HTMLElement}
 */
function scoreRow(code, { name, f1 }) {
  return create(
    "tr",
    {},
    create("th", { scope: "row" }, name),
    create("td", {}, code),
    create("td", { className: "number" }, f1 === null ? "not measured" : formatNumber(100 * f1, 1)),
  );
}

// ---- Start. ----

/** Load the examples and the model's description; the page tags texts without either. */
async function load() {
  const [examples, model] = await Promise.allSettled([fetchJson("examples.json"), loadModel()]);
  if (model.status === "fulfilled") showModel(model.value);
  if (examples.status === "fulfilled") showExamples(examples.value, model.value ?? null);
  const failed = [examples, model].find(({ status }) => status === "rejected");
  if (failed) showError(failed.reason);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  tagInput();
});
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  tagInput();
});
input.addEventListener("input", forgetLanguage);
exampleSelect.addEventListener("change", tagExample);
retryButton.addEventListener("click", tagInput);
byId("copy").addEventListener("click", copyResults);
document.addEventListener("focusin", followFocus);
document.addEventListener("focusout", hideTip);
document.addEventListener("pointerover", followPointer);
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") hideTip();
});
load();
