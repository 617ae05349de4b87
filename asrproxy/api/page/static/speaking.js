// The button that opens the microphone and closes it.

import { announce } from "./announce.js";
import { reicon } from "./element.js";
import { t } from "./language.js";
import { time } from "./numbers.js";
import { problemCard, title } from "./problems.js";
import { Recorder } from "./recorder.js";
import { Recording } from "./recordings.js";

/** At most one recording is spoken at a time. begun: is called with each that begins. */
export class Speaking {
  #options;
  #begun;
  #recorders = new WeakMap();
  #recording = null; // that the microphone is open for
  #problem = null;
  #button = document.getElementById("record");

  constructor(options, begun) {
    this.#options = options;
    this.#begun = begun;
    this.#button.onclick = () => (this.#recording ? this.stop(this.#recording) : this.#start());
  }

  /** What hears a recording of the microphone. */
  recorder(recording) {
    return this.#recorders.get(recording);
  }

  stop(recording) {
    return this.#recorders.get(recording)?.stop();
  }

  /** The button, and why there is no microphone. */
  draw() {
    const open = Boolean(this.#recording);
    this.#button.setAttribute("aria-pressed", String(open));
    this.#button.querySelector(".record-text").textContent = t(open ? "record_stop" : "record");
    reicon(this.#button.querySelector("svg"), open ? "stop" : "mic");
    document.querySelector(".mic-problem")?.remove();
    if (!this.#problem) return;
    const card = problemCard(this.#problem);
    card.classList.add("mic-problem");
    document.querySelector(".start").after(card);
  }

  async #start() {
    const { partial, ...parameters } = this.#options.parameters(); // a live session has no parts to keep
    const recording = new Recording({
      name: t("recorded_at", { time: time(new Date(), true) }),
      live: true,
      parameters,
      streams: this.#options.streams(),
    });
    const recorder = new Recorder(recording);
    this.#recorders.set(recording, recorder);
    this.#problem = null;
    this.#button.disabled = true;
    this.draw();
    try {
      await recorder.start(this.#options.device);
    } catch (problem) {
      this.#problem = problem;
      announce(title(problem));
      return;
    } finally {
      this.#button.disabled = false;
      this.draw();
    }
    this.#recording = recording;
    recording.addEventListener("change", ({ detail: what }) => {
      if (what !== "state" || recording.state === "listening") return;
      if (this.#recording === recording) this.#recording = null;
      this.draw();
    });
    recording.signal.addEventListener("abort", () => recorder.stop());
    this.#begun(recording);
    this.draw();
    this.#options.listDevices();
  }
}
