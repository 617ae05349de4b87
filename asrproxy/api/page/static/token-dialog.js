// Asks for the token that a sidecar wants. It is kept in this tab only.

import { token, useToken } from "./api.js";

const at = (id) => document.getElementById(`token${id}`);

/** Opens by itself the first time that the sidecar refuses. Says `accepted` when it takes a token. */
export class TokenDialog extends EventTarget {
  #sidecar;
  #asked = false;

  constructor(sidecar) {
    super();
    this.#sidecar = sidecar;
    at("-open").onclick = () => this.ask();
    at("-later").onclick = () => at("").close();
    at("-forget").onclick = () => this.#forget();
    at("-form").onsubmit = (event) => {
      event.preventDefault();
      this.#use(at("-value").value.trim());
    };
    sidecar.addEventListener("change", () => this.#looked());
  }

  ask() {
    if (at("").open) return;
    at("-refused").hidden = !(token() && this.#refused);
    at("-forget").hidden = !token();
    at("-value").value = "";
    at("").showModal();
  }

  get #refused() {
    return this.#sidecar.problem?.code === "unauthorized";
  }

  #looked() {
    at("-open").hidden = !token() && !this.#refused;
    if (!this.#refused || this.#asked) return;
    this.#asked = true;
    this.ask();
  }

  async #use(value) {
    if (!value) return at("-value").focus();
    useToken(value);
    await this.#sidecar.lookAnew();
    at("-refused").hidden = !this.#refused;
    if (this.#refused) return at("-value").select();
    at("").close();
    return this.dispatchEvent(new Event("accepted"));
  }

  #forget() {
    useToken("");
    at("").close();
    this.#sidecar.lookAnew();
  }
}
