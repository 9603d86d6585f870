/**
 * Words to WordPieces, and sentences to rows of them: what a `tokenizer.json` of an export says, and nothing else.
 *
 * A sentence that fits is one row, a longer one is cut at word borders into overlapping windows, and every word's score
 * comes from the window in which it has most context. The tables are those of the crates that the `tokenizers` library
 * is built from, as in `words.js`. The browser's own are lower case and the decompositions that Unicode 9 had. A browser
 * older than Unicode 17 keeps some fifty capital letters of rare scripts (U+1C89, U+A7CB, U+10D50 or U+16EA0) that
 * Python lowers; to a vocabulary without either letter the word is unknown all the same.
 */

import { characterClass, splitWords } from "./words.js";

/** U+FFFD, and Cc, Cf and Co of Unicode 8 but for tab and line ends, which are white space. */
const REMOVED = matcher(characterClass(`
  0-8 B-C E-1F 7F-9F AD 600-605 61C 6DD 70F 180E 200B-200F 202A-202E 2060-2064 2066-206F E000-F8FF FEFF FFF9-FFFB
  FFFD 110BD 1BCA0-1BCA3 1D173-1D17A E0001 E0020-E007F F0000-FFFFD 100000-10FFFD`));

/** Ideographs, of Japanese as well; each is a word for WordPiece. Kana and Hangul are none. */
const CHINESE = matcher(
  characterClass("3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B81F 2B920-2CEAF 2F800-2FA1F"),
);

/** Mn of Unicode 8, that of the crate `unicode_categories` 0.1.1. */
const NONSPACING_MARKS = matcher(characterClass(`
  300-36F 483-487 591-5BD 5BF 5C1-5C2 5C4-5C5 5C7 610-61A 64B-65F 670 6D6-6DC 6DF-6E4 6E7-6E8 6EA-6ED 711 730-74A
  7A6-7B0 7EB-7F3 816-819 81B-823 825-827 829-82D 859-85B 8E3-902 93A 93C 941-948 94D 951-957 962-963 981 9BC
  9C1-9C4 9CD 9E2-9E3 A01-A02 A3C A41-A42 A47-A48 A4B-A4D A51 A70-A71 A75 A81-A82 ABC AC1-AC5 AC7-AC8 ACD AE2-AE3
  B01 B3C B3F B41-B44 B4D B56 B62-B63 B82 BC0 BCD C00 C3E-C40 C46-C48 C4A-C4D C55-C56 C62-C63 C81 CBC CBF CC6
  CCC-CCD CE2-CE3 D01 D41-D44 D4D D62-D63 DCA DD2-DD4 DD6 E31 E34-E3A E47-E4E EB1 EB4-EB9 EBB-EBC EC8-ECD F18-F19
  F35 F37 F39 F71-F7E F80-F84 F86-F87 F8D-F97 F99-FBC FC6 102D-1030 1032-1037 1039-103A 103D-103E 1058-1059
  105E-1060 1071-1074 1082 1085-1086 108D 109D 135D-135F 1712-1714 1732-1734 1752-1753 1772-1773 17B4-17B5
  17B7-17BD 17C6 17C9-17D3 17DD 180B-180D 18A9 1920-1922 1927-1928 1932 1939-193B 1A17-1A18 1A1B 1A56 1A58-1A5E
  1A60 1A62 1A65-1A6C 1A73-1A7C 1A7F 1AB0-1ABD 1B00-1B03 1B34 1B36-1B3A 1B3C 1B42 1B6B-1B73 1B80-1B81 1BA2-1BA5
  1BA8-1BA9 1BAB-1BAD 1BE6 1BE8-1BE9 1BED 1BEF-1BF1 1C2C-1C33 1C36-1C37 1CD0-1CD2 1CD4-1CE0 1CE2-1CE8 1CED 1CF4
  1CF8-1CF9 1DC0-1DF5 1DFC-1DFF 20D0-20DC 20E1 20E5-20F0 2CEF-2CF1 2D7F 2DE0-2DFF 302A-302D 3099-309A A66F
  A674-A67D A69E-A69F A6F0-A6F1 A802 A806 A80B A825-A826 A8C4 A8E0-A8F1 A926-A92D A947-A951 A980-A982 A9B3
  A9B6-A9B9 A9BC A9E5 AA29-AA2E AA31-AA32 AA35-AA36 AA43 AA4C AA7C AAB0 AAB2-AAB4 AAB7-AAB8 AABE-AABF AAC1
  AAEC-AAED AAF6 ABE5 ABE8 ABED FB1E FE00-FE0F FE20-FE2F 101FD 102E0 10376-1037A 10A01-10A03 10A05-10A06
  10A0C-10A0F 10A38-10A3A 10A3F 10AE5-10AE6 11001 11038-11046 1107F-11081 110B3-110B6 110B9-110BA 11100-11102
  11127-1112B 1112D-11134 11173 11180-11181 111B6-111BE 111CA-111CC 1122F-11231 11234 11236-11237 112DF
  112E3-112EA 11300-11301 1133C 11340 11366-1136C 11370-11374 114B3-114B8 114BA 114BF-114C0 114C2-114C3
  115B2-115B5 115BC-115BD 115BF-115C0 115DC-115DD 11633-1163A 1163D 1163F-11640 116AB 116AD 116B0-116B5 116B7
  1171D-1171F 11722-11725 11727-1172B 16AF0-16AF4 16B30-16B36 16F8F-16F92 1BC9D-1BC9E 1D167-1D169 1D17B-1D182
  1D185-1D18B 1D1AA-1D1AD 1D242-1D244 1DA00-1DA36 1DA3B-1DA6C 1DA75 1DA84 1DA9B-1DA9F 1DAA1-1DAAF 1E8D0-1E8D6
  E0100-E01EF`));

/**
 * Runs of what decomposes as in Unicode 9, that of the library: not of the characters that Unicode 10 to 17 decompose,
 * nor of the marks that they put in order.
 */
const DECOMPOSED = new RegExp(`[^${characterClass(`
  7FD 897-89F 8CA-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1ADD 1AE0-1AEB 1DF6-1DFA A82C 105C9 105E4 10D24-10D27
  10D69-10D6D 10EAB-10EAC 10EFA-10EFB 10EFD-10EFF 10F46-10F50 10F82-10F85 11070 1133B 11383 11385 1138E 11391
  113C5 113C7-113C8 113CE-113D0 1145E 11839-1183A 11938 1193D-1193E 11943 119E0 11A34 11A47 11A99 11D42
  11D44-11D45 11D97 11F41-11F42 16121-16128 1612F 16D68-16D6A 16FF0-16FF1 1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF
  1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 1E6E6 1E6EE-1E6EF 1E6F5`)}]+`, "gu");

/**
 * A WordPiece tokenizer.
 *
 * @typedef {object} WordPieces
 * @property {(word: string) => string} normalise
 * @property {(word: string) => number[]} idsOf the pieces of a word as it stands in a text, none for one like U+200B
 * @property {number[]} prefix pieces before every row
 * @property {number[]} suffix pieces behind every row
 * @property {number} padId
 */

/**
 * A row of pieces and the words that take their score from it.
 *
 * @typedef {object} Row
 * @property {number[]} ids
 * @property {number} sentence
 * @property {{word: number, piece: number}[]} scored words of the sentence and the positions of their first pieces
 */

/**
 * A tokenizer from the content of a `tokenizer.json`. Throws an error that names every setting that is not BERT's.
 *
 * @param {object} settings
 * @returns {WordPieces}
 */
export function readTokenizer(settings) {
  const problems = foreignSettings(settings);
  if (problems.length) {
    throw new Error(`tokenizer.json: ${problems.join("; ")}. Give the tokenizer.json of an export.`);
  }
  const { model, post_processor: processor } = settings;
  const vocabulary = new Map(Object.entries(model.vocab));
  const normalise = makeNormaliser(settings.normalizer);
  const idsOf = (word) => splitWords(normalise(word)).flatMap((part) => longestMatches(part.word, vocabulary, model));
  return {
    normalise,
    idsOf,
    prefix: processor ? [processor.cls[1]] : [],
    suffix: processor ? [processor.sep[1]] : [],
    padId: vocabulary.get("[PAD]"),
  };
}

/**
 * Rows of sentences given as words; an empty sentence has none.
 *
 * @param {WordPieces} tokenizer
 * @param {string[][]} sentences
 * @param {number} maxPieces of a row, prefix and suffix included
 * @returns {Row[]}
 */
export function encodeRows(tokenizer, sentences, maxPieces) {
  const budget = maxPieces - tokenizer.prefix.length - tokenizer.suffix.length;
  if (!(budget >= 1)) {
    throw new Error(`max_pieces ${maxPieces} leaves no room beside the special pieces. Export the model again.`);
  }
  return sentences.flatMap((words, sentence) => rowsOf(words.map(tokenizer.idsOf), sentence, tokenizer, budget));
}

/**
 * Windows over words of `counts` pieces, overlapping by up to budget / 4 pieces. Of the words that two windows share,
 * each keeps the half that lies deeper inside it.
 *
 * @param {number[]} counts
 * @param {number} budget
 * @returns {{start: number, stop: number, keepStart: number, keepStop: number}[]}
 */
export function cutWindows(counts, budget) {
  const nWords = counts.length;
  const ends = runningSums(counts);
  const windows = [];
  let [start, keepStart] = [0, 0];
  while (nWords) {
    const before = start ? ends[start - 1] : 0;
    const stop = Math.max(firstAbove(ends, before + budget), start + 1);
    if (stop >= nWords) {
      windows.push({ start, stop: nWords, keepStart, keepStop: nWords });
      break;
    }
    const context = ends[stop - 1] - Math.floor(budget / 4);
    // Pieces are whole: the first end that is not below `context` is the first above `context - 1`.
    const nextStart = Math.min(Math.max(firstAbove(ends, context - 1) + 1, start + 1), stop);
    const keepStop = Math.floor((nextStart + stop + 1) / 2);
    windows.push({ start, stop, keepStart, keepStop });
    [start, keepStart] = [nextStart, keepStop];
  }
  return windows;
}

function rowsOf(pieces, sentence, { prefix, suffix }, budget) {
  const counts = pieces.map((ids) => ids.length);
  return cutWindows(counts, budget).map(({ start, stop, keepStart, keepStop }) => {
    const ids = pieces.slice(start, stop).flat().slice(0, budget); // shorter for a word longer than a window
    const scored = [];
    let piece = 0;
    for (let word = start; word < stop; word += 1) {
      const isKept = keepStart <= word && word < keepStop;
      if (isKept && counts[word] && piece < budget) scored.push({ word, piece: piece + prefix.length });
      piece += counts[word];
    }
    return { ids: [...prefix, ...ids, ...suffix], sentence, scored };
  });
}

function makeNormaliser({ clean_text, handle_chinese_chars, strip_accents, lowercase }) {
  const steps = [];
  // The library also makes all white space U+0020, but no word has any.
  if (clean_text) steps.push((word) => word.replace(REMOVED, ""));
  if (handle_chinese_chars) steps.push((word) => word.replace(CHINESE, " $& "));
  if (strip_accents ?? lowercase) steps.push((word) => decompose(word).replace(NONSPACING_MARKS, ""));
  if (lowercase) steps.push(lower);
  return (word) => steps.reduce((text, step) => step(text), word);
}

function decompose(word) {
  return word.replace(DECOMPOSED, (run) => run.normalize("NFD"));
}

/** Character by character as in Rust: a whole word's Σ at its end would become ς. */
function lower(word) {
  return Array.from(word, (character) => character.toLowerCase()).join("");
}

function longestMatches(word, vocabulary, { unk_token, continuing_subword_prefix, max_input_chars_per_word }) {
  const unknown = [vocabulary.get(unk_token)];
  const characters = Array.from(word);
  if (characters.length > max_input_chars_per_word) return unknown;
  const ids = [];
  for (let start = 0; start < characters.length; ) {
    let stop = characters.length;
    let id;
    for (; stop > start; stop -= 1) {
      id = vocabulary.get((start ? continuing_subword_prefix : "") + characters.slice(start, stop).join(""));
      if (id !== undefined) break;
    }
    if (id === undefined) return unknown;
    ids.push(id);
    start = stop;
  }
  return ids;
}

function foreignSettings({ normalizer, pre_tokenizer, model, post_processor, added_tokens }) {
  const problems = [];
  const demand = (holds, problem) => holds || problems.push(problem);
  demand(normalizer?.type === "BertNormalizer", `normalizer ${normalizer?.type}, expected BertNormalizer`);
  demand(pre_tokenizer?.type === "BertPreTokenizer", `pre_tokenizer ${pre_tokenizer?.type}, expected BertPreTokenizer`);
  demand(
    !post_processor || post_processor.type === "BertProcessing",
    `post_processor ${post_processor?.type}, expected BertProcessing or none`,
  );
  demand(model?.type === "WordPiece", `model ${model?.type}, expected WordPiece`);
  if (model?.type === "WordPiece") {
    for (const piece of [model.unk_token, "[PAD]"]) {
      demand(Object.hasOwn(model.vocab, piece), `the vocabulary has no ${piece}`);
    }
  }
  for (const { content, normalized } of added_tokens ?? []) {
    // The others would be found inside of words; these never are, because each is several words.
    demand(!normalized && splitWords(content).length > 1, `added token ${content}, expected ones such as [PAD]`);
  }
  return problems;
}

function runningSums(numbers) {
  let sum = 0;
  return numbers.map((number) => (sum += number));
}

/** Where the first of some rising numbers is above `limit`; their count if none is. */
function firstAbove(numbers, limit) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] > limit) high = middle;
    else low = middle + 1;
  }
  return low;
}

function matcher(characters) {
  return new RegExp(`[${characters}]`, "gu");
}
