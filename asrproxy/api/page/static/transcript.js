// The segments of a recording as text: each with its time, what is to be known about it, and the place that is being played.

import { element, icon } from "./element.js";
import { t } from "./language.js";
import { clock } from "./numbers.js";
import { title } from "./problems.js";
import { Problem } from "./api.js";

/** A list that grows with the recording. */
export class TranscriptView {
  #recording;
  #player;
  #rows = [];
  #current = null;
  #word = null;

  constructor(recording, player) {
    this.#recording = recording;
    this.#player = player;
    this.root = element("ol", { className: "segments", "aria-label": t("transcript") });
    const { language } = recording.whole;
    if (language) this.root.lang = language;
    this.grow();
    player.onmove = () => this.#follow();
  }

  /** Adds the segments that have come. */
  grow() {
    for (const segment of this.#recording.segments.slice(this.#rows.length)) {
      const row = this.#row(segment);
      this.#rows.push(row);
      this.root.append(row.item);
    }
  }

  #row(segment) {
    const words = spread(segment);
    const spans = words?.map(({ text, word }) => (word ? Object.assign(element("span", { className: "word" }, text), { word }) : text));
    const why = segment.error ? title(new Problem(segment.error.code)) : "";
    const text = element("p", { className: "text", onclick: (event) => this.#clicked(event, segment) }, ...(spans ?? [segment.text]));
    const go = () => this.#player.seek(segment.start);
    const flags = [
      segment.suspect ? flag("warn", "alert", t("suspect"), t("suspect_why")) : null,
      segment.cached ? flag("calm", "clock", t("cached"), t("cached_why")) : null,
    ].filter(Boolean);
    if (segment.error) {
      text.replaceChildren(t("hole_here", { why }));
      text.title = segment.error.message;
    }
    const stamp = element(
      "button",
      { type: "button", className: "stamp", onclick: go, "aria-label": t("go_to", { time: clock(segment.start) }) },
      clock(segment.start),
    );
    const item = element(
      "li",
      { className: segment.error ? "segment hole" : "segment" },
      stamp,
      element("div", {}, text, flags.length ? element("p", { className: "flags", lang: document.documentElement.lang }, ...flags) : null),
    );
    return { segment, item, words: spans?.filter((each) => each.word) ?? [] };
  }

  #clicked(event, segment) {
    if (!getSelection().isCollapsed) return; // a person selects, and does not want to be taken elsewhere
    this.#player.seek(event.target.word?.start ?? segment.start);
  }

  #follow() {
    const at = this.#player.position + 0.01;
    const row = this.#rows.findLast((each) => each.segment.start <= at) ?? null;
    if (row !== this.#current) {
      this.#current?.item.removeAttribute("aria-current");
      row?.item.setAttribute("aria-current", "true");
      if (row && this.#player.playing) row.item.scrollIntoView({ block: "nearest" });
      this.#current = row;
    }
    const word = row?.words.findLast((each) => each.word.start <= at) ?? null;
    if (word === this.#word) return;
    this.#word?.classList.remove("now");
    word?.classList.add("now");
    this.#word = word;
  }
}

function flag(kind, drawing, text, why) {
  return element(
    "span",
    { className: `flag ${kind}`, title: why },
    icon(drawing),
    text,
    element("span", { className: "hidden" }, `. ${why}`),
  );
}

/** The text in pieces, words with their times and what is between; null: the words are not those of the text. */
function spread({ text, words }) {
  if (!words?.length) return null;
  const pieces = [];
  let at = 0;
  for (const word of words) {
    const found = text.indexOf(word.text, at);
    if (found < 0) return null;
    if (found > at) pieces.push({ text: text.slice(at, found) });
    pieces.push({ text: word.text, word });
    at = found + word.text.length;
  }
  if (at < text.length) pieces.push({ text: text.slice(at) });
  return pieces;
}
