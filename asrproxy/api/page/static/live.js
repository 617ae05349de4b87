// One session of /v1/stream: samples up, interim and final texts down.

import { Problem, address, get, subprotocols } from "./api.js";

const BEHIND = 4; // seconds of audio that wait in the socket before a person is told that the connection is slow
const PATIENCE = 60_000; // ms that the last sentence may take after `stop`

/** tell: is called with each message of the contract. `ended` settles with the last one (`done`), or throws Problem. */
export class LiveSession {
  #socket;
  #waiting = [];
  #started = false;
  #rate;
  #patience = 0;
  #late = false;

  constructor(start, tell) {
    this.#rate = start.sample_rate;
    const url = address("v1/stream");
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.#socket = new WebSocket(url, subprotocols()));
    socket.binaryType = "arraybuffer";
    this.ended = new Promise((resolve, reject) => {
      socket.onopen = () => socket.send(JSON.stringify({ type: "start", ...start }));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "started") this.#go();
        if (message.type === "done") resolve(message);
        else if (message.type === "error") reject(new Problem(message.error.code, { error: message.error }));
        else tell(message);
      };
      socket.onclose = () => {
        clearTimeout(this.#patience);
        if (this.#late) reject(new Problem("deadline_exceeded"));
        else if (this.#started) reject(new Problem("unreachable_error"));
        else whyRefused().then(reject);
      };
    });
    this.ended.catch(() => {}); // it is awaited later, or not at all
  }

  /** Sends samples; those from before the session began wait for it. */
  send(samples) {
    if (this.#started) this.#push(samples);
    else this.#waiting.push(samples);
  }

  /** Whether what is said takes long to get out of here. */
  get behind() {
    return this.#socket.bufferedAmount > BEHIND * this.#rate * 2;
  }

  /** No more audio comes. */
  stop() {
    if (this.#started) this.#push(JSON.stringify({ type: "stop" }));
    else this.#waiting.push(JSON.stringify({ type: "stop" }));
    this.#patience = setTimeout(() => {
      this.#late = true;
      this.#socket.close();
    }, PATIENCE);
  }

  #go() {
    this.#started = true;
    for (const each of this.#waiting.splice(0)) this.#push(each);
  }

  #push(data) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
  }
}

/** A browser does not say why a handshake was refused: the same refusal can be read over HTTP. */
async function whyRefused() {
  try {
    await get("v1/models");
    return new Problem("unreachable_error");
  } catch (problem) {
    return problem;
  }
}
