/**
 * Texts to entities for the page: here by asking the service. Nothing but this file knows where entities come from.
 *
 * @typedef {import("./page.js").Result} Result
 * @typedef {import("./page.js").Model} Model
 */

import { fetchJson } from "./files.js";

/** Texts were not tagged; `mayRetry` says whether the same texts can do better later, `waitSeconds` how much later. */
export class TaggingError extends Error {
  /**
   * @param {string} message
   * @param {{mayRetry?: boolean, waitSeconds?: number | null}} [advice]
   */
  constructor(message, { mayRetry = false, waitSeconds = null } = {}) {
    super(message);
    this.mayRetry = mayRetry;
    this.waitSeconds = waitSeconds;
  }
}

/**
 * Find the entities of each text.
 *
 * @param {string[]} texts
 * @param {AbortSignal} signal aborts when nobody waits for the answer any more
 * @returns {Promise<Result[]>} one result for each text, in order
 * @throws {TaggingError}
 */
export async function tagTexts(texts, signal) {
  let response;
  try {
    response = await fetch("v1/tag", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ texts }),
      signal,
    });
  } catch {
    throw new TaggingError("The service cannot be reached.", { mayRetry: true });
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response, answer);
  if (answer?.results?.length !== texts.length) throw new TaggingError("The answer of the service cannot be read.");
  return answer.results;
}

/**
 * The error that an answer other than 200 stands for.
 *
 * @param {Response} response
 * @param {any} answer its JSON, null where it has none
 * @returns {TaggingError}
 */
function refusal(response, answer) {
  const message = typeof answer?.detail === "string" ? answer.detail : `The service answered ${response.status}.`;
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new TaggingError(message, {
    mayRetry: [408, 503].includes(response.status),
    waitSeconds: Number.isNaN(seconds) ? null : seconds,
  });
}

/**
 * What the service says of its model.
 *
 * @returns {Promise<Model>}
 */
export function loadModel() {
  return fetchJson("v1/model");
}
