/**
 * Texts to entities for the page: here in the browser itself, by onnxruntime-web. Nothing leaves the machine.
 *
 * @typedef {import("./page.js").Result} Result
 * @typedef {import("./page.js").Model} Model
 */

import * as ort from "./ort/ort.wasm.min.mjs";
import { fetchJson } from "./files.js";
import { loadTagger } from "./tagger.js";

const here = (path) => new URL(path, import.meta.url).href;
ort.env.wasm.numThreads = 1; // more need headers that isolate the page, which a plain file server does not send
ort.env.wasm.wasmPaths = here("ort/");
const loading = loadTagger({ ort, base: here("model/") });
loading.catch(() => {}); // `tagTexts` tells whoever asks

/**
 * Find the entities of each text.
 *
 * @param {string[]} texts
 * @returns {Promise<Result[]>} one result for each text, in order
 */
export async function tagTexts(texts) {
  const tagger = await loading;
  const found = await tagger.tag(texts);
  return found.map((entities) => ({ id: null, entities }));
}

/**
 * What is known of the model.
 *
 * @returns {Promise<Model>}
 */
export function loadModel() {
  return fetchJson("model/page.json");
}
