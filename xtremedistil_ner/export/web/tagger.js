/**
 * Texts to entities in a web page: the Python `Tagger` for onnxruntime-web, with the same words, pieces, batches,
 * decoding and offsets, so that both give the same entities.
 *
 *   import * as ort from "./ort.wasm.min.mjs";
 *   import { loadTagger } from "./tagger.js";
 *   ort.env.wasm.numThreads = 1;
 *   const tagger = await loadTagger({ ort, base: "https://example.org/model/" });
 *   const [entities] = await tagger.tag(["Marie Curie worked in Paris."]);
 */

import { encodeRows, readTokenizer } from "./pieces.js";
import { splitWords } from "./words.js";

const BATCH_PIECES = 1024; // as in Python: int8 kernels scale by batch, so that batches must be equal as well
const CHUNK_SENTENCES = 2048;

/** Logit of a tag that a word without a piece cannot have. */
const NEVER = -1e4;

/** Stands for infinity where sums must stay finite. */
const NO_NUMBER = 1e30;

/**
 * An entity of a text. Units: start and end in code points, as `Array.from(text)` counts them; score is the
 * probability of its type, `B-` and `I-` together, the mean over its words.
 *
 * @typedef {{text: string, type: string, start: number, end: number, score: number}} Entity
 */

/**
 * What onnxruntime-web does not tell of a graph's metadata. Shapes: transitions (tags + 1, tags) [previous, next], row
 * 0 for the start of a sentence; null without a CRF.
 *
 * @typedef {{tags: string[], types: string[], max_pieces: number, transitions: number[][] | null}} Model
 */

/**
 * Load a tagger from a folder with `model.json`, `tokenizer.json` and `model.onnx`.
 *
 * Throws an error when a file cannot be read or is not of an export.
 *
 * @param {object} options
 * @param {object} options.ort the module onnxruntime-web
 * @param {string} options.base the address of the folder, with a slash at the end
 * @param {(url: string) => Promise<ArrayBuffer | Uint8Array>} [options.read]
 * @returns {Promise<{model: Model, tag: (texts: string[]) => Promise<Entity[][]>}>}
 */
export async function loadTagger({ ort, base, read = fetchFile }) {
  const [model, tokenizer, graph] = await Promise.all([
    readJson(read, `${base}model.json`),
    readJson(read, `${base}tokenizer.json`).then(readTokenizer),
    read(`${base}model.onnx`),
  ]);
  const steps = stepScores(model);
  const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(new Uint8Array(graph), options);
  const parts = { tokenizer, model, steps, score: sessionScorer(ort, session, tokenizer.padId) };
  return { model, tag: (texts) => tagTexts(texts, parts) };
}

async function tagTexts(texts, parts) {
  if (typeof texts === "string") throw new TypeError("one string where several are expected. Call tag([text]).");
  const result = [];
  for (let start = 0; start < texts.length; start += CHUNK_SENTENCES) {
    result.push(...(await tagChunk(texts.slice(start, start + CHUNK_SENTENCES), parts)));
  }
  return result;
}

async function tagChunk(texts, { tokenizer, model, steps, score }) {
  const places = texts.map(splitWords);
  const sentences = places.map((words) => words.map(({ word }) => word));
  const rows = encodeRows(tokenizer, sentences, model.max_pieces);
  const logits = await scoreWords(score, rows, sentences, model.tags.length);
  return texts.map((text, index) => entitiesOf(text, places[index], logits[index], steps, model));
}

/**
 * Logits of every word of each sentence, those of tag 0, `O`, for words without a piece.
 * Shapes: result sentences times (words) arrays of (tags,) float32.
 */
async function scoreWords(score, rows, sentences, nTags) {
  const outside = Float32Array.from({ length: nTags }, (_, tag) => (tag ? NEVER : 0));
  const logits = sentences.map((words) => words.map(() => outside));
  for (const batch of planBatches(rows)) {
    const nPieces = batch.at(-1).ids.length;
    if (nPieces === 0) continue; // only words without a piece
    const scores = await score(batch, nPieces);
    batch.forEach(({ sentence, scored }, row) => {
      for (const { word, piece } of scored) {
        const start = (row * nPieces + piece) * nTags;
        logits[sentence][word] = scores.slice(start, start + nTags);
      }
    });
  }
  return logits;
}

/** Rows grouped by length so that rows times longest length stays within the budget (one row at least). */
function planBatches(rows) {
  const batches = [];
  let batch = [];
  for (const row of [...rows].sort((one, other) => one.ids.length - other.ids.length)) {
    if (batch.length && (batch.length + 1) * row.ids.length > BATCH_PIECES) {
      batches.push(batch);
      batch = [];
    }
    batch.push(row);
  }
  return batch.length ? [...batches, batch] : batches;
}

function sessionScorer(ort, session, padId) {
  return async (batch, nPieces) => {
    const shape = [batch.length, nPieces];
    const ids = new BigInt64Array(batch.length * nPieces).fill(BigInt(padId));
    const mask = new BigInt64Array(batch.length * nPieces);
    batch.forEach((row, index) => {
      ids.set(row.ids.map(BigInt), index * nPieces);
      mask.fill(1n, index * nPieces, index * nPieces + row.ids.length);
    });
    const tensor = (values) => new ort.Tensor("int64", values, shape);
    const outputs = await session.run({ input_ids: tensor(ids), attention_mask: tensor(mask) }, ["logits"]);
    return outputs.logits.data;
  };
}

function entitiesOf(text, words, logits, steps, { tags }) {
  const path = decodeTags(logits, steps);
  const spans = spansOf(path.map((tag) => tags[tag]));
  const characters = spans.length ? Array.from(text) : [];
  return spans.map((span) => {
    const start = words[span.start].start;
    const end = words[span.stop - 1].end;
    let sum = 0;
    for (let word = span.start; word < span.stop; word += 1) sum += typeProbability(logits[word], path[word]);
    return {
      text: characters.slice(start, end).join(""),
      type: span.type,
      start,
      end,
      score: sum / (span.stop - span.start),
    };
  });
}

/**
 * Softmax of an entity's tag and of the other one of its type, in float64; the difference from the largest logit in
 * float32, as in Python.
 */
function typeProbability(logits, tag) {
  const largest = logits[argmax(logits)];
  const weight = (logit) => Math.exp(Math.fround(logit - largest));
  const begin = tag % 2 ? tag : tag - 1;
  const sum = logits.reduce((total, logit) => total + weight(logit), 0);
  return Math.min((weight(logits[begin]) + weight(logits[begin + 1])) / sum, 1);
}

/** Entities of legal IOB2 tags: the words [start, stop) and their type. */
function spansOf(tags) {
  const spans = [];
  tags.forEach((tag, word) => {
    if (tag.startsWith("B-")) spans.push({ start: word, stop: word + 1, type: tag.slice(2) });
    if (tag.startsWith("I-")) spans.at(-1).stop = word + 1;
  });
  return spans;
}

/**
 * The legal IOB2 path with the largest sum of logits and of transition scores, if there are any; without them it is the
 * argmax wherever the argmax is legal. Shapes: logits words times (tags,); result (words,) tag ids.
 *
 * Python returns a CRF's argmax without the search where nothing can outweigh it: the same path, but for exact ties.
 */
function decodeTags(logits, { scores, areLearnt }) {
  const path = logits.map(argmax);
  const isLegal = path.every((tag, word) => scores[word ? path[word - 1] + 1 : 0][tag] > -Infinity);
  return path.length === 0 || (isLegal && !areLearnt) ? path : bestLegalPath(logits, scores);
}

/** Viterbi. Shapes: scores (tags + 1, tags) [previous, next], row 0 for the start, -Infinity where illegal. */
function bestLegalPath(logits, scores) {
  const finite = (logit) => (Number.isFinite(logit) ? logit : logit > 0 ? NO_NUMBER : -NO_NUMBER);
  let best = scores[0].map((score, tag) => score + finite(logits[0][tag]));
  const cameFrom = logits.slice(1).map((wordLogits) => {
    const previous = scores[0].map((_, tag) => argmax(best.map((sum, before) => scores[before + 1][tag] + sum)));
    best = previous.map((before, tag) => scores[before + 1][tag] + best[before] + finite(wordLogits[tag]));
    return previous;
  });
  const path = [argmax(best)];
  for (const previous of cameFrom.reverse()) path.push(previous[path.at(-1)]);
  return path.reverse();
}

/** The first of the largest values, or of those that are no number, as in numpy. */
function argmax(values) {
  let best = 0;
  for (let index = 1; index < values.length && !Number.isNaN(values[best]); index += 1) {
    if (values[index] > values[best] || Number.isNaN(values[index])) best = index;
  }
  return best;
}

/**
 * Scores of neighbouring tags: zero or the CRF's, -Infinity where IOB2 has no such neighbours.
 * Shapes: scores (tags + 1, tags) [previous, next], row 0 for the start of a sentence.
 */
function stepScores({ tags, transitions }) {
  demandScheme(tags);
  const isMatrix = transitions?.length === tags.length + 1 && transitions.every((row) => row.length === tags.length);
  if (transitions && !isMatrix) {
    throw new Error(`model.json: transitions are not ${tags.length + 1} rows of ${tags.length}. Export again.`);
  }
  const scores = ["O", ...tags].map((previous, row) =>
    tags.map((next, column) => (mayFollow(previous, next) ? (transitions?.[row][column] ?? 0) : -Infinity)),
  );
  return { scores, areLearnt: Boolean(transitions) };
}

function mayFollow(previous, next) {
  return !next.startsWith("I-") || previous.slice(2) === next.slice(2);
}

function demandScheme(tags) {
  const types = tags?.filter((tag) => tag.startsWith("B-")).map((tag) => tag.slice(2)) ?? [];
  const expected = ["O", ...types.flatMap((type) => [`B-${type}`, `I-${type}`])];
  if (tags?.join() !== expected.join()) {
    throw new Error(`model.json: its tags are ${tags?.join(", ")}, expected ${expected.join(", ")}. Export again.`);
  }
}

async function readJson(read, url) {
  const content = await read(url);
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch (error) {
    throw new Error(`${url}: no JSON (${error.message}). Give the files of an export.`, { cause: error });
  }
}

async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}. Copy the whole folder.`);
  return response.arrayBuffer();
}
