// What the sidecar says of itself, looked at while somebody looks at the page.

import { get } from "./api.js";

const CLOSELY = 1500; // ms, while its status is on the screen
const NOW_AND_THEN = 15_000;

/** Says `change` after each look. status: the last one that came, null: none yet. problem: why the last look failed, or null. */
export class Sidecar extends EventTarget {
  status = null;
  problem = null;
  at = null;
  #closely = false;
  #timer = 0;
  #looking = null;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => this.#plan(0));
  }

  /** How often: about every second and a half, or now and then. */
  watch(closely) {
    this.#closely = closely;
    this.#plan(closely ? 0 : NOW_AND_THEN);
  }

  /** Looks once. Two at the same time are one. */
  look() {
    this.#looking ??= this.#look().finally(() => (this.#looking = null));
    return this.#looking;
  }

  /** Looks once more: what is under way now may have begun with another token. */
  async lookAnew() {
    await this.#looking;
    return this.look();
  }

  async #look() {
    try {
      this.status = await get("v1/status");
      this.problem = null;
      this.at = new Date();
    } catch (problem) {
      this.problem = problem;
    }
    this.dispatchEvent(new Event("change"));
    this.#plan();
  }

  #plan(pause = this.#closely ? CLOSELY : NOW_AND_THEN) {
    clearTimeout(this.#timer);
    if (document.visibilityState === "visible") this.#timer = setTimeout(() => this.look(), pause);
  }
}
