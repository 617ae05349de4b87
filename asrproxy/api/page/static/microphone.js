// The microphone as 16-bit samples at a rate that the sidecar takes.

import { Problem } from "./api.js";

const HIGHEST = 48_000; // Hz that /v1/stream takes
const FLUSH = 1000; // ms for what the worklet still holds

/** An open microphone. `rate`: Hz of its samples. */
export class Microphone {
  #context;
  #stream;
  #node;
  #flushed;

  /** Asks for it. device: its id, "": the system's default. heard: is called with each Int16Array, lost: when it goes. Throws Problem. */
  static async open(device, heard, lost) {
    const opened = new Microphone();
    try {
      await opened.#open(device, heard, lost);
      return opened;
    } catch (error) {
      await opened.#release();
      if (error instanceof Problem) throw error;
      const codes = {
        NotAllowedError: "mic_denied",
        SecurityError: "mic_denied",
        NotFoundError: "mic_missing",
        OverconstrainedError: "mic_missing",
      };
      throw new Problem(codes[error.name] ?? "mic_failed");
    }
  }

  /** Ends it; all that it heard has been told when this returns. */
  async close() {
    this.#node.port.postMessage("end");
    await Promise.race([this.#flushed, new Promise((resolve) => setTimeout(resolve, FLUSH))]);
    await this.#release();
  }

  async #open(device, heard, lost) {
    if (!navigator.mediaDevices?.getUserMedia) throw new Problem("mic_insecure");
    // A recogniser wants the voice as it is: what makes it pleasant to a listener on the telephone takes away what it listens for.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    if (device) audio.deviceId = { exact: device };
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    for (const track of this.#stream.getTracks()) track.onended = lost; // unplugged, or taken back; not when we stop it
    this.#context = new AudioContext();
    await this.#context.audioWorklet.addModule(new URL("microphone-worklet.js", import.meta.url));
    const every = Math.ceil(this.#context.sampleRate / HIGHEST);
    this.rate = Math.round(this.#context.sampleRate / every);
    this.#node = new AudioWorkletNode(this.#context, "microphone", {
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { every },
    });
    this.#flushed = new Promise((resolve) => {
      this.#node.port.onmessage = ({ data }) => (data ? heard(data) : resolve());
    });
    // It says nothing, but not every browser runs a node that leads nowhere.
    this.#context.createMediaStreamSource(this.#stream).connect(this.#node).connect(this.#context.destination);
    await this.#context.resume();
  }

  async #release() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context && this.#context.state !== "closed") await this.#context.close();
  }
}

/** The microphones that may be chosen, once one has been allowed: their names are hidden until then. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter((each) => each.kind === "audioinput" && each.label && !["default", "communications"].includes(each.deviceId));
}
