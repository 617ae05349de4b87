// The list of recordings: what each is called and how far it is; one of them is shown whole beside it.

import { announce } from "./announce.js";
import { element, icon } from "./element.js";
import { t } from "./language.js";
import { clock, percent } from "./numbers.js";
import { title } from "./problems.js";

const MARKS = { done: "check", failed: "alert", cancelled: "close", waiting: "clock", listening: "mic" };

/** Says `select` when another recording is to be shown: `selected`, null for none. */
export class ListView extends EventTarget {
  selected = null;
  #recordings;
  #root = document.getElementById("list");
  #area = document.getElementById("list-area");
  #count = document.getElementById("count");

  constructor(recordings) {
    super();
    this.#recordings = recordings;
    recordings.addEventListener("change", () => this.draw());
    recordings.addEventListener("told", ({ detail: { what } }) => what !== "level" && what !== "interim" && this.draw());
  }

  /** Shows another one. */
  select(recording) {
    this.selected = recording;
    this.draw();
    this.dispatchEvent(new Event("select"));
  }

  /** All rows. A row is kept while its recording changes, so that the focus stays on it. */
  draw() {
    const { all } = this.#recordings;
    this.#area.hidden = !all.length;
    this.#count.textContent = all.length > 1 ? all.length : "";
    const rows = [...this.#root.children];
    const wanted = all
      .map((each) =>
        this.#drawn(
          each,
          rows.find((row) => row.recording === each),
        ),
      )
      .reverse();
    if (wanted.length !== rows.length || wanted.some((row, place) => row !== rows[place])) this.#root.replaceChildren(...wanted);
  }

  #drawn(recording, row = this.#row(recording)) {
    const { state, duration } = recording;
    if (recording === this.selected) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    row.className = state;
    const [item, removing] = row.children;
    const [mark, text] = item.children;
    const drawing = state === "done" && recording.live ? "mic" : (MARKS[state] ?? "");
    mark.style.setProperty("--share", `${share(recording) * 100}%`);
    if (mark.dataset.of !== drawing) {
      mark.dataset.of = drawing;
      mark.replaceChildren(...(drawing ? [icon(drawing)] : []));
    }
    const length = duration && !recording.underWay ? clock(duration) : null;
    text.children[0].textContent = recording.name;
    text.children[1].textContent = [length, inWords(recording)].filter(Boolean).join(" · ");
    removing.setAttribute("aria-label", t("remove", { name: recording.name }));
    return row;
  }

  #row(recording) {
    const text = element("span", { className: "item-text" }, element("strong", {}), element("small", {}));
    const item = element(
      "button",
      { type: "button", className: "item", onclick: () => this.select(recording) },
      element("span", { className: "item-mark" }),
      text,
    );
    const removing = element("button", { type: "button", className: "remove", onclick: () => this.#remove(recording) }, icon("close"));
    return Object.assign(element("li", {}, item, removing), { recording });
  }

  #remove(recording) {
    const place = this.#recordings.all.indexOf(recording);
    this.#recordings.remove(recording);
    announce(t("removed", { name: recording.name }));
    const { all } = this.#recordings;
    if (this.selected === recording) this.select(all[place] ?? all[place - 1] ?? null);
    (this.#root.querySelector("[aria-current] .item") ?? document.getElementById("choose")).focus();
  }
}

function share({ state, sent, progress, waveform }) {
  if (state === "sending") return sent;
  return progress ? progress.seconds_done / Math.max(progress.seconds_total, waveform?.duration ?? 0, 0.001) : 0;
}

function inWords(recording) {
  const { state, sent, problem } = recording;
  if (state === "sending") return t("sending_at", { percent: percent(sent) });
  if (state === "working") return recording.progress ? t("working_share", { percent: percent(share(recording)) }) : t("working");
  return state === "failed" ? title(problem) : t(state);
}
