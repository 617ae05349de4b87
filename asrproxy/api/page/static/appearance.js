// The two buttons that choose language and colours.

import { reicon } from "./element.js";
import { keep, kept } from "./kept.js";
import { language, switchLanguage, t } from "./language.js";

const THEMES = ["auto", "light", "dark"];

/** redraw: is called when what is drawn on canvases, or written by scripts, has to be drawn and written anew. */
export function chooseAppearance(redraw) {
  const languages = document.getElementById("language");
  const themes = document.getElementById("theme");
  const theme = () => (THEMES.includes(kept("theme")) ? kept("theme") : "auto");

  const draw = () => {
    const english = document.documentElement.lang === "en";
    languages.textContent = english ? "中文" : "EN";
    languages.lang = english ? "zh-CN" : "en";
    languages.setAttribute("aria-label", t("language_switch"));
    themes.title = t(`theme_${theme()}`);
    themes.setAttribute("aria-label", themes.title);
    reicon(themes.querySelector("svg"), theme());
    redraw();
  };
  languages.onclick = switchLanguage;
  themes.onclick = () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    keep("theme", next === "auto" ? null : next);
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    draw();
  };
  language.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
