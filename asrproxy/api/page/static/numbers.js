// Times, sizes and shares as people read them, in the page's language.

import { t, tag } from "./language.js";

/** A place in a recording: `0:07`, `12:40`, `1:02:03`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const end = `${String(s).padStart(2, "0")}`;
  return h ? `${h}:${String(m).padStart(2, "0")}:${end}` : `${m}:${end}`;
}

/** How long something takes or took: `0.42 s`, `3.2 s`, `2 min 5 s`, `1 h 12 min`. */
export function span(seconds) {
  if (seconds < 59.5) return t("seconds", { n: number(seconds, seconds < 1 ? 2 : seconds < 10 ? 1 : 0) });
  const whole = Math.round(seconds);
  if (whole < 3600) return t("minutes", { n: Math.floor(whole / 60), s: whole % 60 });
  if (whole < 86400) return t("hours", { n: Math.floor(whole / 3600), m: Math.floor(whole / 60) % 60 });
  return t("days", { n: Math.floor(whole / 86400), h: Math.floor(whole / 3600) % 24 });
}

/** A limit in hours where it is whole hours. */
export function limit(seconds) {
  return seconds >= 3600 && seconds % 3600 === 0 ? t("whole_hours", { n: seconds / 3600 }) : span(seconds);
}

/** `12 ms`, `0.84 s`. */
export function latency(seconds) {
  return seconds < 0.0995 ? `${number(seconds * 1000, seconds < 0.00995 ? 1 : 0)} ms` : `${number(seconds, seconds < 10 ? 2 : 1)} s`;
}

/** `3.1 MiB`. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let place = 0;
  while (bytes >= 1024 && place < units.length - 1) [bytes, place] = [bytes / 1024, place + 1];
  return `${number(bytes, place && bytes < 10 ? 1 : 0)} ${units[place]}`;
}

/** With at most `digits` after the point. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(tag(), { maximumFractionDigits: digits }).format(value);
}

/** Of 0 to 1. */
export function percent(share) {
  return new Intl.NumberFormat(tag(), { style: "percent" }).format(share);
}

/** The time of day. */
export function time(moment, seconds = false) {
  return new Intl.DateTimeFormat(tag(), {
    hour: "2-digit",
    minute: "2-digit",
    second: seconds ? "2-digit" : undefined,
    hour12: false,
  }).format(moment);
}

/** A language's own name for people: `Chinese (China)`. */
export function languageName(code) {
  try {
    return new Intl.DisplayNames([tag()], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}
