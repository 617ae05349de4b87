// What was dropped or spoken, and the queue that has it recognised.

import { Problem } from "./api.js";
import { join } from "./cues.js";
import { recognize } from "./recognize.js";
import { waveformOf } from "./waveform.js";

const AT_ONCE = 2; // the sidecar cuts and queues by itself; more would only make the first one later
const UNDER_WAY = new Set(["waiting", "sending", "working", "listening", "finishing"]);
let made = 0;

/**
 * One recording. state: waiting, sending, working, done, failed, cancelled; of the microphone also listening, finishing.
 * Says `change` with a detail of what did: state, progress, segments, interim, level, waveform.
 */
export class Recording extends EventTarget {
  id = (made += 1);
  state = "waiting";
  sent = 0;
  progress = null;
  segments = [];
  transcript = null;
  problem = null;
  waveform = null;
  took = null;
  interim = null;
  levels = [];
  #began = 0;
  #abort = new AbortController();

  /** live: it is spoken; streams: and its provider answers before a sentence ends. parameters: as /v1/recognize takes them. */
  constructor({ name, blob = null, live = false, streams = false, parameters = {} }) {
    super();
    Object.assign(this, { name, blob, live, streams, parameters });
    if (blob) this.#measure();
  }

  /** Seconds, as well as they are known. */
  get duration() {
    const heard = this.segments.at(-1)?.end ?? 0;
    return this.transcript?.duration ?? this.waveform?.duration ?? Math.max(this.progress?.seconds_total ?? 0, heard);
  }

  get underWay() {
    return UNDER_WAY.has(this.state);
  }

  get signal() {
    return this.#abort.signal;
  }

  /** What can be copied and kept: the transcript, or what there is of one. */
  get whole() {
    if (this.transcript) return this.transcript;
    const language = this.parameters.language ?? null;
    const text = join(
      this.segments.map((each) => each.text),
      language,
    );
    return { text, language, duration: this.duration, complete: false, provider: null, segments: this.segments };
  }

  /** Sets facts and says so. */
  become(what, facts = {}) {
    Object.assign(this, facts);
    this.dispatchEvent(new CustomEvent("change", { detail: what }));
  }

  /** Back to the queue's end. */
  again(parameters) {
    this.#abort = new AbortController();
    this.become("state", {
      state: "waiting",
      problem: null,
      transcript: null,
      progress: null,
      sent: 0,
      segments: [],
      live: false,
      parameters,
    });
  }

  /** Ends what is under way; what had come stays. */
  cancel() {
    const was = this.state;
    this.#abort.abort();
    if (was === "waiting") this.become("state", { state: "cancelled" });
  }

  /** Sends it and gathers what comes. */
  async recognize() {
    this.#began = performance.now();
    this.become("state", { state: "sending" });
    try {
      const transcript = await recognize(this.blob, this.parameters, (event, data) => this.#told(event, data), this.#abort.signal);
      this.become("state", { state: "done", transcript, segments: transcript.segments, took: (performance.now() - this.#began) / 1000 });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const segments = error.error.segments?.length ? error.error.segments : this.segments;
      this.become("state", { state: error.code === "cancelled" ? "cancelled" : "failed", problem: error, segments });
    }
  }

  /** Takes the audio of a recording that was spoken. */
  keep(blob, waveform) {
    this.blob = blob;
    this.become("waveform", { waveform });
  }

  #told(event, data) {
    if (event === "sent") this.become(data < 1 ? "progress" : "state", data < 1 ? { sent: data } : { sent: 1, state: "working" });
    else if (event === "progress") this.become("progress", { progress: data });
    else if (event === "segment") this.become("segments", { segments: [...this.segments, data] });
  }

  async #measure() {
    this.become("waveform", { waveform: await waveformOf(this.blob) });
  }
}

/** Recordings in the order in which they came. Says `change` when there are others, and passes on what they say. */
export class Recordings extends EventTarget {
  all = [];

  add(recording) {
    this.all.push(recording);
    recording.addEventListener("change", (event) => {
      this.dispatchEvent(new CustomEvent("told", { detail: { recording, what: event.detail } }));
      if (event.detail === "state") this.#next();
    });
    this.dispatchEvent(new Event("change"));
    this.#next();
  }

  remove(recording) {
    recording.cancel();
    this.all = this.all.filter((each) => each !== recording);
    this.dispatchEvent(new Event("change"));
    this.#next();
  }

  get busy() {
    return this.all.some((each) => each.underWay);
  }

  #next() {
    const running = this.all.filter((each) => each.state === "sending" || each.state === "working").length;
    const next = this.all.filter((each) => each.state === "waiting" && each.blob);
    for (const each of next.slice(0, Math.max(0, AT_ONCE - running))) each.recognize();
  }
}
