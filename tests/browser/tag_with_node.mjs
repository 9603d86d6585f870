/**
 * What the browser's modules make of some texts, for a test to compare with Python.
 *
 *   node tag_with_node.mjs ONNXRUNTIME_WEB < request.json > answer.json
 *
 * A request says what to `do`: `tag` texts, `split` them into words, `normalise` words, or encode `rows` of sentences;
 * the answer has their order. JSON on both sides writes lone surrogates as escapes.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

import { encodeRows, readTokenizer } from "../../xtremedistil_ner/export/web/pieces.js";
import { loadTagger } from "../../xtremedistil_ner/export/web/tagger.js";
import { splitWords } from "../../xtremedistil_ner/export/web/words.js";

async function tag({ folder, texts }) {
  const ort = await import(pathToFileURL(join(process.argv[2], "dist", "ort.wasm.min.mjs")));
  ort.env.wasm.numThreads = 1;
  const tagger = await loadTagger({ ort, base: `${folder}/`, read: (path) => readFile(path) });
  return tagger.tag(texts);
}

async function tokenizerOf({ folder }) {
  return readTokenizer(JSON.parse(await readFile(join(folder, "tokenizer.json"), "utf8")));
}

const ANSWERS = {
  tag,
  split: ({ texts }) => texts.map((content) => splitWords(content).map(({ word, start, end }) => [word, start, end])),
  normalise: async (request) => request.texts.map((await tokenizerOf(request)).normalise),
  rows: async (request) => encodeRows(await tokenizerOf(request), request.sentences, request.max_pieces),
};

const request = JSON.parse(await text(process.stdin));
try {
  process.stdout.write(JSON.stringify(await ANSWERS[request.do](request)));
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
