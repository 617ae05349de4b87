// From the microphone to a live session, and to a recording that can be played afterwards.

import { Problem } from "./api.js";
import { LiveSession } from "./live.js";
import { Microphone } from "./microphone.js";
import { peaksOf } from "./waveform.js";
import { wavOf } from "./wav.js";

const FOLD = 2 ** 21; // bytes of samples that are put into a blob, so that the browser may move them out of memory
const FLOOR = -60; // dB below full scale that count as no level
const SHOWN = 160; // levels that the meter shows

/** Speaks for one recording of the microphone, from its start until its last sentence. */
export class Recorder {
  #recording;
  #microphone = null;
  #session = null;
  #parts = [];
  #loose = [];
  #bytes = 0;
  #looseBytes = 0;
  #peaks = [];
  #stopping = false;

  constructor(recording) {
    this.#recording = recording;
  }

  /** Seconds that were heard. */
  get seconds() {
    return this.#microphone ? this.#bytes / 2 / this.#microphone.rate : 0;
  }

  get behind() {
    return this.#session?.behind ?? false;
  }

  /** Opens the microphone and the session. Throws Problem: there is no microphone. device: "", the default. */
  async start(device) {
    const { words, ...parameters } = this.#recording.parameters;
    this.#microphone = await Microphone.open(
      device,
      (samples) => this.#heard(samples),
      () => this.stop(),
    );
    const start = { sample_rate: this.#microphone.rate, encoding: "pcm_s16le", interim: true, ...parameters };
    if (words) start.words = true;
    this.#session = new LiveSession(start, (message) => this.#told(message));
    for (const samples of this.#loose) this.#session.send(samples);
    this.#recording.become("state", { state: "listening" });
    this.#session.ended.catch(() => this.stop()); // a session that fails takes no more audio
  }

  /** Ends the microphone, waits for the last sentence, and leaves the recording done or failed. */
  async stop() {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#recording.become("state", { state: "finishing" });
    await this.#microphone.close();
    this.#session.stop();
    const { rate } = this.#microphone;
    const blob = wavOf([...this.#parts, ...this.#loose], this.#bytes, rate);
    this.#recording.keep(blob, { peaks: peaksOf(this.#peaks), duration: this.#bytes / 2 / rate });
    try {
      const { text, duration } = await this.#session.ended;
      const { segments, parameters } = this.#recording;
      const transcript = { text, language: parameters.language ?? null, duration, complete: true, provider: null, segments };
      this.#recording.become("state", { state: "done", interim: null, transcript });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#recording.become("state", { state: "failed", interim: null, problem: error });
    }
  }

  #heard(samples) {
    this.#session?.send(samples);
    this.#loose.push(samples);
    this.#bytes += samples.byteLength;
    this.#looseBytes += samples.byteLength;
    if (this.#session && this.#looseBytes >= FOLD) {
      this.#parts.push(new Blob(this.#loose));
      [this.#loose, this.#looseBytes] = [[], 0];
    }
    let [peak, power] = [0, 0];
    for (const each of samples) {
      const value = Math.abs(each) / 32_768;
      if (value > peak) peak = value;
      power += value * value;
    }
    this.#peaks.push(peak);
    const decibels = 10 * Math.log10(power / samples.length + 1e-9);
    this.#recording.levels.push(Math.max(0, Math.min(1, 1 - decibels / FLOOR)));
    if (this.#recording.levels.length > SHOWN) this.#recording.levels.shift();
    this.#recording.become("level");
  }

  #told(message) {
    const recording = this.#recording;
    if (message.type === "interim") {
      recording.become("interim", { interim: message });
    } else if (message.type === "final") {
      const { index, start, end, text, words } = message;
      const segment = { index, start, end, text, provider: null, attempts: 1, error: null };
      if (words) segment.words = words;
      const interim = recording.interim?.index > index ? recording.interim : null;
      recording.become("segments", { interim, segments: [...recording.segments, segment] });
    }
  }
}
