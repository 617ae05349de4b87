// Which language the page speaks, and its texts in it.

import { TEXTS } from "./texts.js";
import { keep, kept } from "./kept.js";

const TAGS = { en: "en", zh: "zh-CN" };
let now = chosen();

/** Hears `change` when the page speaks another language. */
export const language = new EventTarget();

/** A text. values: what goes into it. */
export function t(key, values = {}) {
  const text = TEXTS[now][key];
  return typeof text === "function" ? text(values) : text;
}

/** BCP 47, for Intl and `lang`. */
export function tag() {
  return TAGS[now];
}

/** Speaks the other language from now on. */
export function switchLanguage() {
  now = now === "en" ? "zh" : "en";
  keep("language", now);
  apply();
  language.dispatchEvent(new Event("change"));
}

/** Puts the texts into what is on the page already. */
export function apply(root = document) {
  document.documentElement.lang = tag();
  for (const each of root.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const each of root.querySelectorAll("[data-t-label]")) each.setAttribute("aria-label", t(each.dataset.tLabel));
  for (const each of root.querySelectorAll("[data-t-title]")) each.title = t(each.dataset.tTitle);
}

function chosen() {
  const wanted = kept("language");
  if (wanted in TAGS) return wanted;
  for (const each of navigator.languages ?? [navigator.language]) {
    const primary = each.toLowerCase().split("-")[0];
    if (primary in TAGS) return primary;
  }
  return "en";
}
