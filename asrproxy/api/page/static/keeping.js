// Takes a transcript out of the page: to the clipboard, or into a file.

import { srt, vtt } from "./cues.js";

/** The formats that can be had, in the order of the buttons. */
export const FORMATS = {
  txt: { type: "text/plain", write: (transcript) => `${transcript.text}\n` },
  srt: { type: "application/x-subrip", write: srt },
  vtt: { type: "text/vtt", write: vtt },
  json: { type: "application/json", write: (transcript) => `${JSON.stringify(transcript, null, 2)}\n` },
};

/** A file in the browser's downloads, named after the recording. */
export function download(recording, format) {
  const { type, write } = FORMATS[format];
  const address = URL.createObjectURL(new Blob([write(recording.whole)], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${recording.name.replace(/\.[^.\s]{1,5}$/u, "").replaceAll(/[\\/:*?"<>|]/gu, "-")}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Whether the browser took it. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no permission, or not a secure address
  }
}
