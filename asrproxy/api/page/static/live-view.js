// What is seen and heard of a recording while it is being spoken: level, time, and the text as it comes.

import { element } from "./element.js";
import { t } from "./language.js";
import { clock, percent } from "./numbers.js";

const QUIET = 0.12; // of the meter: below it nobody speaks into this microphone
const PATIENCE = 4; // seconds of quiet at the start before it is mentioned
const NEAR = 240; // pixels from the end of the page
const SETTLED = 1200; // ms that an interim text has to stand before it is read out
const BAR = 3;
const GAP = 2;

/** Lives as long as the recording is listening or finishing. recorder: what hears it. */
export class LiveView {
  #recording;
  #recorder;
  #heard = false;
  #shown = 0;
  #settling = 0;
  #told = 0;
  #meter = element("div", { className: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" });
  #canvas = element("canvas", { "aria-hidden": "true" });
  #clock = element("span", { className: "live-clock" }, "0:00");
  #hint = element("p", { className: "hint" });
  #lines = element("div", { className: "live-lines", role: "log", "aria-live": "polite" });
  #interim = element("p", { className: "interim", "aria-hidden": "true" });
  #spoken = element("p", { className: "hidden", "aria-live": "polite" });

  constructor(recording, recorder, stop) {
    this.#recording = recording;
    this.#recorder = recorder;
    this.#meter.append(this.#canvas);
    this.#meter.setAttribute("aria-label", t("level"));
    this.#lines.setAttribute("aria-label", t("live_text"));
    const finishing = recording.state === "finishing";
    this.root = element(
      "div",
      { className: finishing ? "live finishing" : "live" },
      element(
        "div",
        { className: "live-head" },
        element("span", { className: "live-dot", "aria-hidden": "true" }),
        this.#clock,
        element("span", { className: "hint" }, t(recording.state)),
        finishing ? null : element("button", { type: "button", className: "stop", onclick: stop }, t("record_stop")),
      ),
      this.#meter,
      this.#hint,
      recording.streams ? null : element("p", { className: "live-note hint" }, t("live_sentences")),
      element("div", { className: "live-text" }, this.#lines, this.#interim, this.#spoken),
    );
    this.grow();
    this.interim();
    this.level();
  }

  /** Sentences that are finished. */
  grow() {
    const { segments } = this.#recording;
    for (const { start, text } of segments.slice(this.#shown)) {
      this.#lines.append(element("p", {}, element("span", { className: "stamp", "aria-hidden": "true" }, clock(start)), text));
    }
    this.#shown = segments.length;
    this.interim();
  }

  /** The sentence that is being spoken. It changes many times a second: it is read out once it stands still. */
  interim() {
    const { interim, segments } = this.#recording;
    const nothing = !interim && !segments.length;
    const following = innerHeight + scrollY > document.documentElement.scrollHeight - NEAR; // not while somebody reads further up
    this.#interim.textContent = interim?.text ?? (nothing ? t("live_empty") : "");
    this.#interim.classList.toggle("empty", nothing);
    if (following) this.#interim.scrollIntoView({ block: "nearest" });
    clearTimeout(this.#settling);
    if (interim) this.#settling = setTimeout(() => (this.#spoken.textContent = interim.text), SETTLED);
    else this.#spoken.textContent = "";
  }

  /** How loud it is, and how long it has been. */
  level() {
    const { levels } = this.#recording;
    const level = levels.at(-1) ?? 0;
    const seconds = this.#recorder?.seconds ?? 0;
    this.#heard ||= levels.some((each) => each > QUIET);
    this.#clock.textContent = clock(seconds);
    if (seconds - this.#told >= 0.5 || seconds < this.#told) {
      this.#told = seconds; // a reader of the page need not hear of it twenty times a second
      this.#meter.setAttribute("aria-valuenow", Math.round(level * 100));
      this.#meter.setAttribute("aria-valuetext", percent(level));
    }
    this.#hint.textContent = this.#recorder?.behind ? t("live_slow") : !this.#heard && seconds > PATIENCE ? t("live_silent") : "";
    this.#draw(levels);
  }

  #draw(levels) {
    const { width, height } = this.#meter.getBoundingClientRect();
    if (!width) return;
    const ratio = devicePixelRatio;
    [this.#canvas.width, this.#canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const to = this.#canvas.getContext("2d");
    to.scale(ratio, ratio);
    const style = getComputedStyle(this.#meter);
    const bars = Math.floor((width + GAP) / (BAR + GAP));
    for (let bar = 0; bar < bars; bar += 1) {
      const level = levels[levels.length - bars + bar] ?? 0;
      const tall = Math.max(3, level * height);
      to.fillStyle = style.getPropertyValue(level ? "--record" : "--track");
      to.beginPath();
      to.roundRect(bar * (BAR + GAP), (height - tall) / 2, BAR, tall, 1.5);
      to.fill();
    }
  }
}
