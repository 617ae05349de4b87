// WAV files, written from samples and read a stretch at a time.

/** A file of s16le mono samples in `parts` (buffers or blobs), `bytes` long in all. */
export function wavOf(parts, bytes, rate) {
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, index) => head.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, rate * 2, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head, ...parts], { type: "audio/wav" });
}

const HEAD = 65_536; // bytes looked through for the two chunks; what is longer before the samples is left to the browser's decoder

/** Where the samples of a 16-bit PCM file are: `{rate, channels, first, bytes}`; null: it is something else. */
export async function wavLayout(blob) {
  const view = new DataView(await blob.slice(0, HEAD).arrayBuffer());
  const word = (at) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));
  if (view.byteLength < 44 || word(0) !== "RIFF" || word(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2)) {
    if (word(at) === "fmt " && at + 24 <= view.byteLength) {
      if (view.getUint16(at + 8, true) !== 1 || view.getUint16(at + 22, true) !== 16) return null;
      format = { channels: view.getUint16(at + 10, true), rate: view.getUint32(at + 12, true) };
    } else if (word(at) === "data") {
      if (!format?.channels || !format.rate) return null;
      return { ...format, first: at + 8, bytes: Math.min(view.getUint32(at + 4, true), blob.size - at - 8) };
    }
  }
  return null;
}
