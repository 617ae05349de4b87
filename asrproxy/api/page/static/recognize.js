// One recording to POST /v1/recognize, told as it goes: sent, under way, each segment, the whole.

import { Problem, address, authorization, problemOf } from "./api.js";

/**
 * The transcript. tell: is called with (`sent`, share), (`progress`, …) and (`segment`, …). signal: ends it.
 *
 * XMLHttpRequest, because fetch does not say how much of a body has been sent. Throws Problem; of code `cancelled` when `signal` ended it.
 */
export function recognize(blob, parameters, tell, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let ended = null;
    const events = new Events((event, data) => {
      if (event === "result") ended = () => resolve(data);
      else if (event === "error") ended = () => reject(new Problem(data.error.code, { error: data.error, status: request.status }));
      else tell(event, data);
    });
    const read = () => {
      if (request.status === 200) events.read(request.responseText);
    };
    request.open("POST", address("v1/recognize", { stream: "true", ...parameters }));
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && tell("sent", event.loaded / event.total);
    request.upload.onload = () => tell("sent", 1);
    request.onprogress = read;
    request.onload = () => {
      if (request.status !== 200) return reject(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      read();
      return ended ? ended() : reject(new Problem("unreachable_error"));
    };
    request.onerror = () =>
      blob
        .slice(0, 1)
        .arrayBuffer()
        .then(
          () => reject(new Problem("unreachable_error")),
          () => reject(new Problem("file_unreadable")),
        );
    request.onabort = () => reject(new Problem("cancelled"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(blob);
  });
}

/** Server-sent events out of a text that grows. */
class Events {
  #at = 0;
  #told;

  constructor(told) {
    this.#told = told;
  }

  read(text) {
    for (let end = text.indexOf("\n\n", this.#at); end >= 0; end = text.indexOf("\n\n", this.#at)) {
      const lines = text.slice(this.#at, end).split("\n");
      this.#at = end + 2;
      const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const event = field("event");
      if (event) this.#told(event, JSON.parse(field("data")));
    }
  }
}
