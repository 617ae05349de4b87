// Writes a transcript as subtitles, SubRip (srt) or WebVTT. The rules are those of asrproxy/text/cues.py, and a test holds the two to the
// same cues: asking the sidecar for them would mean sending the recording, and paying for it, once more.

const LINES = 2;
const SHORTEST = 5 / 6;
const LONGEST = 7;
const COLUMNS = 42;
const WIDE_COLUMNS = 32;
const JAPANESE_COLUMNS = 26;
const PAUSE = 1;

const UNSPACED =
  "\\u3005-\\u3007\\u3021-\\u3029\\u3040-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9f\\u{20000}-\\u{3ffff}";
const WORD = `(?![${UNSPACED}])[\\p{L}\\p{N}_]`;
const TOKEN = new RegExp(`[${UNSPACED}]|(?:${WORD})+(?:['’.](?:${WORD})+)*`, "gu");
const CHARACTER = new RegExp(`^[${UNSPACED}]`, "u");
const WIDE_MARKS = new Set("，。！？、；：「」『』（）《》〈〉【】…—“”‘’·～");
const SENTENCE = new Set(".!?。！？…");
const CLAUSE = new Set([...SENTENCE, ...",;:，、；："]);
const QUOTES = new Set("\"'”’」』）)》]");
const CLOSING = new Set("，。！？、；：,.!?;:…");
const UNSPACED_LANGUAGES = new Set(["zh", "ja", "yue", "cmn", "wuu"]);

/** SubRip. transcript: the contract's `200`. */
export function srt(transcript) {
  return cues(transcript)
    .map(
      ({ start, end, lines }, index) =>
        `${index + 1}\n${stamp(start, ",")} --> ${stamp(end, ",")}\n${lines.join("\n").replaceAll("-->", "->")}\n\n`,
    )
    .join("");
}

/** WebVTT. */
export function vtt(transcript) {
  const escaped = (lines) => lines.join("\n").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `WEBVTT\n\n${cues(transcript)
    .map(({ start, end, lines }) => `${stamp(start, ".")} --> ${stamp(end, ".")}\n${escaped(lines)}\n\n`)
    .join("")}`;
}

/** Cues in order, never two at once: `{start, end, lines}`, seconds. */
export function cues(transcript) {
  const written = transcript.segments.filter((segment) => !segment.error).flatMap((segment) => ofSegment(segment, transcript.language));
  written.sort((a, b) => a.start - b.start);
  return written.map(({ start, end, lines }, index) => {
    const following = written[index + 1]?.start ?? Infinity;
    return { start, end: Math.min(Math.max(end, start + SHORTEST), Math.max(following, start + 0.001)), lines };
  });
}

/** The texts of neighbours, joined as their language writes. */
export function join(texts, language = null) {
  let joined = "";
  for (const each of texts) {
    let text = each.trim();
    if (joined && CLOSING.has(joined.at(-1)) && !isDecimal(text))
      while (text && (CLOSING.has(text[0]) || /\s/u.test(text[0]))) text = text.slice(1);
    if (text) joined += (joined ? between(joined, text, language) : "") + text;
  }
  return joined;
}

function isDecimal(text) {
  return text[0] === "." && /\d/u.test(text[1] ?? "");
}

function between(left, right, language) {
  const [last, first] = [[...left.slice(-2)].at(-1), [...right.slice(0, 2)][0]];
  if ((CLOSING.has(first) && !isDecimal(right)) || isUnspaced(last) || isUnspaced(first)) return "";
  if (/[\p{L}\p{N}]/u.test(last) && /[\p{L}\p{N}]/u.test(first)) return " ";
  return UNSPACED_LANGUAGES.has((language ?? "").split("-")[0].toLowerCase()) ? "" : " ";
}

function ofSegment(segment, language) {
  const limit = columns(segment.text);
  return groups(units(segment, language), limit).map((group) => ({
    start: group[0].start,
    end: group.at(-1).end,
    lines: fold(textOf(group), limit),
  }));
}

function columns(text) {
  const characters = [...text];
  if (characters.filter(isUnspaced).length * 2 > characters.filter((each) => each !== " ").length) {
    return /[\u3040-\u30ff]/u.test(text) ? JAPANESE_COLUMNS : WIDE_COLUMNS;
  }
  return /[\uac00-\ud7a3]/u.test(text) ? WIDE_COLUMNS : COLUMNS;
}

/** The text's words with their times: the provider's where they say the same as the text, else shared out by width. */
function units(segment, language) {
  let text = segment.text.split(/\s+/u).filter(Boolean).join(" ");
  if (!text) return [];
  let found = tokens(text, segment.words);
  if (segment.words?.length && found[0]?.start === undefined) {
    text = join(
      segment.words.map((word) => word.text),
      language,
    );
    found = tokens(text, segment.words);
  }
  if (!found.length) return [{ text, start: segment.start, end: segment.end }];
  const edges = [0, ...found.slice(1).map((after, index) => boundary(text, found[index].last, after.first)), text.length];
  const pieces = found.map((_, index) => text.slice(edges[index], edges[index + 1]));
  if (found[0].start !== undefined) return found.map(({ start, end }, index) => ({ text: pieces[index], start, end }));
  const weights = pieces.map(width);
  const step = (segment.end - segment.start) / weights.reduce((sum, each) => sum + each, 0);
  let reached = 0;
  return pieces.map((piece, index) => {
    reached += weights[index];
    const end = segment.start + step * reached;
    return { text: piece, start: end - weights[index] * step, end };
  });
}

function tokens(text, words) {
  const plain = [...text.matchAll(TOKEN)].map((match) => ({ key: key(match[0]), first: match.index, last: match.index + match[0].length }));
  const timed = (words ?? []).flatMap((word) => {
    const parts = [...word.text.matchAll(TOKEN)];
    const step = (word.end - word.start) / Math.max(parts.length, 1);
    return parts.map((part, index) => ({ key: key(part[0]), start: word.start + step * index, end: word.start + step * (index + 1) }));
  });
  if (timed.length !== plain.length || timed.some((each, index) => each.key !== plain[index].key)) return plain;
  return plain.map((each, index) => ({ ...timed[index], ...each }));
}

function key(text) {
  return text.normalize("NFKC").toLowerCase().replaceAll("’", "'").replaceAll("'", "");
}

function isUnspaced(character) {
  return WIDE_MARKS.has(character) || CHARACTER.test(character);
}

/** Marks go with the word before, an opening quote or bracket with the one after. */
function boundary(text, last, first) {
  while (last < first && (CLAUSE.has(text[last]) || QUOTES.has(text[last]) || text[last] === " ")) last += 1;
  return last;
}

function groups(all, limit) {
  const made = [];
  for (let first = 0, last; first < all.length; first = last) {
    last = first + 1;
    while (last < all.length && !isOver(all, first, last) && fits(all.slice(first, last + 1), limit)) last += 1;
    if (last < all.length && !isOver(all, first, last)) {
      for (let at = last; at > first + Math.floor((last - first) / 2); at -= 1) {
        if (marked(all[at - 1], CLAUSE)) {
          last = at;
          break;
        }
      }
    }
    made.push(all.slice(first, last));
  }
  return made;
}

function isOver(all, first, last) {
  const finished = marked(all[last - 1], SENTENCE) && all[last - 1].end - all[first].start >= SHORTEST;
  return finished || all[last].start - all[last - 1].end > PAUSE;
}

function marked(unit, marks) {
  let text = unit.text.trimEnd();
  while (text && QUOTES.has(text.at(-1))) text = text.slice(0, -1);
  return marks.has(text.at(-1));
}

function fits(group, limit) {
  return group.at(-1).end - group[0].start <= LONGEST && fold(textOf(group), limit).length <= LINES;
}

function textOf(group) {
  return group
    .map((unit) => unit.text)
    .join("")
    .trim();
}

/** One line if it fits, else two of about the same width, broken after a mark or a word; more only where nothing else is possible. */
function fold(text, limit) {
  if (width(text) <= limit) return [text];
  const found = tokens(text);
  const halves = found.slice(1).map((after, index) => {
    const at = boundary(text, found[index].last, after.first);
    return [text.slice(0, at).trimEnd(), text.slice(at).trimStart()];
  });
  const fitting = halves.filter(([upper, lower]) => width(upper) <= limit && width(lower) <= limit);
  if (fitting.length) return fitting.reduce((best, each) => (unevenness(each) < unevenness(best) ? each : best));
  const [upper, lower] = halves.findLast((pair) => width(pair[0]) <= limit) ?? [text, ""];
  return lower ? [upper, ...fold(lower, limit)] : [text];
}

function unevenness([upper, lower]) {
  return Math.abs(width(upper) - width(lower)) - (CLAUSE.has(upper.at(-1)) ? 8 : 0);
}

function width(text) {
  let sum = 0;
  for (const character of text) sum += isUnspaced(character) || (character >= "\uac00" && character <= "\ud7a3") ? 2 : 1;
  return sum;
}

function stamp(seconds, point) {
  const total = Math.max(0, Math.round(seconds * 1000));
  const seen = [total / 3_600_000, (total / 60_000) % 60, (total / 1000) % 60].map((value) => String(Math.floor(value)).padStart(2, "0"));
  return `${seen.join(":")}${point}${String(total % 1000).padStart(3, "0")}`;
}
