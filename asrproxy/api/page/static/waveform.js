// How loud a recording is along its length, where the browser can find that out without holding hours of samples.

import { wavLayout } from "./wav.js";

export const PEAKS = 1600; // as many as a wide screen has room for
const STRETCH = 4 * 2 ** 20; // bytes of a WAV read at once
const DECODED = 24 * 2 ** 20; // bytes of a compressed file at most: decoding holds all of its samples at once
const LONGEST = 15 * 60; // seconds of one, for the same reason

/** `{peaks, duration}`: `PEAKS` values from 0 to 1, and seconds. null: it cannot be told, and the timeline is drawn from the segments. */
export async function waveformOf(blob) {
  try {
    const layout = await wavLayout(blob);
    if (layout) return await ofWav(blob, layout);
    if (blob.size > DECODED || (await duration(blob)) > LONGEST) return null;
    const audio = await new OfflineAudioContext(1, 1, 16_000).decodeAudioData(await blob.arrayBuffer());
    return { peaks: peaksOf(audio.getChannelData(0)), duration: audio.duration };
  } catch {
    return null; // not a format of this browser's
  }
}

/** Peaks of peaks, for what was measured while it was recorded. */
export function peaksOf(samples) {
  const peaks = new Float32Array(PEAKS);
  const step = samples.length / PEAKS;
  for (let place = 0; place < PEAKS; place += 1) {
    const end = Math.max((place + 1) * step, place * step + 1);
    for (let at = Math.floor(place * step); at < end && at < samples.length; at += 1) {
      const value = Math.abs(samples[at]);
      if (value > peaks[place]) peaks[place] = value;
    }
  }
  return peaks;
}

async function ofWav(blob, { rate, channels, first, bytes }) {
  const frames = Math.floor(bytes / (2 * channels));
  const peaks = new Float32Array(PEAKS);
  const stretch = Math.floor(STRETCH / (2 * channels));
  for (let begin = 0; begin < frames; begin += stretch) {
    const end = Math.min(begin + stretch, frames);
    const samples = new Int16Array(await blob.slice(first + begin * 2 * channels, first + end * 2 * channels).arrayBuffer());
    for (let at = begin; at < end; at += 1) {
      const place = Math.floor((at * PEAKS) / frames);
      const value = Math.abs(samples[(at - begin) * channels]) / 32_768;
      if (value > peaks[place]) peaks[place] = value;
    }
  }
  return { peaks, duration: frames / rate };
}

function duration(blob) {
  return new Promise((resolve, reject) => {
    const audio = new Audio();
    const address = URL.createObjectURL(blob);
    const end = (settle) => () => {
      settle(audio.duration);
      URL.revokeObjectURL(address);
    };
    audio.preload = "metadata";
    audio.onloadedmetadata = end(resolve);
    audio.onerror = end(reject);
    audio.src = address;
  });
}
