// What goes with a recording: route, language, microphone, and whether a part may fail. Routes and languages are the sidecar's own.

import { element } from "./element.js";
import { keep, kept } from "./kept.js";
import { language, t } from "./language.js";
import { microphones } from "./microphone.js";
import { languageName } from "./numbers.js";

// Where no provider says which languages it has.
const COMMON = "zh-CN en-US yue ja-JP ko-KR fr-FR de-DE es-ES pt-BR ru-RU it-IT id-ID vi-VN th-TH ar-SA hi-IN".split(" ");

/** The form of options. */
export class Options {
  #sidecar;
  #route = document.getElementById("route");
  #spoken = document.getElementById("spoken");
  #device = document.getElementById("device");
  #partial = document.getElementById("partial");
  #fields = document.getElementById("options");
  #open = document.getElementById("options-open");
  #drawn = "";

  constructor(sidecar) {
    this.#sidecar = sidecar;
    this.#partial.checked = kept("partial") === "allow";
    this.#partial.onchange = () => keep("partial", this.#partial.checked ? "allow" : null);
    this.#route.onchange = () => {
      keep("route", this.#route.value);
      this.#drawLanguages();
    };
    this.#spoken.onchange = () => {
      keep("spoken", this.#spoken.value);
      this.#summarise();
    };
    this.#open.onclick = () => this.#show(this.#fields.hidden);
    this.#device.onchange = () => keep("device", this.#device.value);
    sidecar.addEventListener("change", () => this.#draw());
    language.addEventListener("change", () => this.#draw(true));
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.listDevices());
    this.#draw();
    this.listDevices();
  }

  get device() {
    return this.#device.value;
  }

  /** As the query of /v1/recognize takes them. */
  parameters() {
    const route = this.#route.value;
    return {
      route: route === "default" ? undefined : route,
      language: this.#spoken.value || undefined,
      words: this.#allHaveWords(route) ? "true" : undefined,
      partial: this.#partial.checked ? "allow" : undefined,
    };
  }

  /** Whether what is being said can be shown before a sentence ends. */
  streams() {
    return this.#members(this.#route.value).some((each) => each.can.streaming);
  }

  /** Leaves their room to the recordings, but for a line that says what is chosen. */
  fold(folded) {
    if (this.#open.hidden !== folded) return;
    this.#open.hidden = !folded;
    this.#show(!folded);
  }

  /** Shows the choice of microphones once there is one. */
  async listDevices() {
    const found = await microphones();
    document.getElementById("device-field").hidden = found.length < 2;
    const options = [["", t("device_default")], ...found.map((each) => [each.deviceId, each.label])];
    fill(this.#device, options, kept("device"));
  }

  /** Word times are asked for only where that does not change who answers. */
  #allHaveWords(route) {
    const members = this.#members(route);
    return members.length > 0 && members.every((each) => each.can.options.includes("words"));
  }

  #members(route) {
    const { routes = {}, providers = {} } = this.#sidecar.status ?? {};
    return (routes[route]?.providers ?? []).map((name) => providers[name]).filter(Boolean);
  }

  #draw(anew = false) {
    const { routes = { default: { providers: [] } }, providers = {} } = this.#sidecar.status ?? {};
    const facts = JSON.stringify([routes, Object.values(providers).map((each) => each.can)]);
    if (!anew && facts === this.#drawn) return;
    this.#drawn = facts;
    const single = ([name, { providers: members }]) => name in providers && members.length === 1 && members[0] === name;
    const rows = Object.entries(routes).sort(([a], [b]) => (b === "default") - (a === "default") || a.localeCompare(b));
    const option = ([name, { providers: members }]) =>
      element(
        "option",
        { value: name },
        members.length && !(members.length === 1 && members[0] === name) ? `${name} (${members.join(" → ")})` : name,
      );
    const groups = [
      [t("routes_named"), rows.filter((row) => !single(row))],
      [t("routes_single"), rows.filter(single)],
    ].filter(([, members]) => members.length);
    const before = kept("route") ?? this.#route.value;
    this.#route.replaceChildren(
      ...(groups.length > 1 ? groups.map(([label, members]) => element("optgroup", { label }, ...members.map(option))) : rows.map(option)),
    );
    this.#route.value = before in routes ? before : "default" in routes ? "default" : rows[0][0];
    this.#drawLanguages();
    this.listDevices();
  }

  #drawLanguages() {
    const members = this.#members(this.#route.value);
    const said = members.map((each) => each.can.languages);
    const codes = said.length && said.every(Boolean) ? [...new Set(said.flat())] : COMMON;
    fill(this.#spoken, [["", t("spoken_auto")], ...codes.map((code) => [code, languageName(code)])], kept("spoken") ?? this.#spoken.value);
    this.#summarise();
  }

  #show(shown) {
    this.#fields.hidden = !shown;
    this.#open.setAttribute("aria-expanded", String(shown));
  }

  #summarise() {
    this.#open.lastElementChild.textContent = [this.#route.value, this.#spoken.selectedOptions[0]?.textContent].filter(Boolean).join(" · ");
  }
}

function fill(select, options, wanted) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
}
