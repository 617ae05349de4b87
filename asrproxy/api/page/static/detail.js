// One recording, whole: what it is, how far it is, how it sounds, what was said, and what may be done with it.

import { announce } from "./announce.js";
import { element, icon } from "./element.js";
import { FORMATS, copy, download } from "./keeping.js";
import { t } from "./language.js";
import { LiveView } from "./live-view.js";
import { clock, languageName, number, percent, span } from "./numbers.js";
import { Player } from "./player.js";
import { mayPass, problemCard } from "./problems.js";
import { TranscriptView } from "./transcript.js";

const COPIED = 2000; // ms that a button says so

/** Shows one recording at a time in `root`. actions: stop(recording), again(recording), askToken(), recorder(recording): what hears it. */
export class Detail {
  #root;
  #actions;
  #recording = null;
  #player = null;
  #transcript = null;
  #live = null;
  #progress = null;
  #waiting = 0;

  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
  }

  /** Another one, or null for none. */
  show(recording) {
    if (recording === this.#recording) return;
    this.#player?.close();
    this.#player = null;
    this.#recording = recording;
    this.draw();
  }

  /** Something of the recording has changed. */
  told(recording, what) {
    if (recording !== this.#recording) return;
    if (what === "state") this.draw();
    else if (what === "progress") this.#drawProgress();
    else if (what === "level") this.#live?.level();
    else if (what === "interim") this.#live?.interim();
    else if (what === "waveform") this.#heard();
    else if (what === "segments") this.#grown();
  }

  /** All of it anew; what is being played goes on, and the focus stays here. */
  draw() {
    const focused = this.#root.contains(document.activeElement) ? document.activeElement : null;
    this.#drawAll();
    if (focused) (focused.isConnected ? focused : this.#root).focus({ preventScroll: true });
  }

  #drawAll() {
    clearInterval(this.#waiting);
    this.#live = this.#transcript = this.#progress = null;
    const recording = this.#recording;
    this.#root.hidden = !recording;
    if (!recording) this.#root.replaceChildren();
    else if (recording.state === "listening" || recording.state === "finishing") this.#drawLive(recording);
    else this.#drawRecording(recording);
  }

  #drawLive(recording) {
    this.#live = new LiveView(recording, this.#actions.recorder(recording), () => this.#actions.stop(recording));
    this.#root.replaceChildren(this.#head(), this.#live.root);
    this.#live.level();
  }

  #drawRecording(recording) {
    const { state } = recording;
    this.#player ??= new Player(recording);
    this.#player.load();
    this.#player.relabel();
    this.#transcript = new TranscriptView(recording, this.#player);
    const nothing = state === "done" && !recording.whole.text;
    this.#root.replaceChildren(
      ...[
        this.#head(),
        recording.underWay ? this.#progressRow() : null,
        recording.problem && state !== "cancelled" ? problemCard(recording.problem, this.#remedies()) : null,
        state === "cancelled" ? element("div", { className: "note" }, element("p", {}, t("was_cancelled")), ...this.#remedies()) : null,
        recording.duration || recording.underWay ? this.#player.root : null,
        nothing ? element("p", { className: "note" }, t("nothing_said")) : null,
        this.#transcript.root,
      ].filter(Boolean),
    );
    this.#transcript.root.hidden = nothing;
    this.#drawProgress();
    this.#player.draw();
  }

  #head() {
    const recording = this.#recording;
    const hasText = recording.segments.some((each) => each.text) && !recording.underWay;
    return element(
      "header",
      { className: "detail-head" },
      element("div", { className: "detail-title" }, element("h2", { title: recording.name }, recording.name), ...this.#meta()),
      hasText ? this.#tools() : null,
    );
  }

  #meta() {
    const facts = this.#facts();
    return facts.length ? [element("p", { className: "meta" }, ...facts)] : [];
  }

  #facts() {
    const recording = this.#recording;
    const { transcript, segments, took } = recording;
    const facts = [];
    const add = (text, kind = "") => facts.push(element("span", { className: kind }, text));
    if (recording.underWay) return facts;
    if (recording.live) add(t("live"), "badge live-badge");
    if (transcript) {
      add(clock(transcript.duration));
      if (transcript.language) add(languageName(transcript.language));
      const names = new Set(segments.map((each) => each.provider).filter(Boolean));
      if (transcript.provider) add(transcript.provider);
      else if (names.size > 1) add(t("providers_several"));
      if (segments.length > 1) add(t("segments", { count: segments.length }));
      if (took) {
        const times = transcript.duration / took;
        add(
          times >= 1.05 ? t("took", { time: span(took), times: number(times, times < 10 ? 1 : 0) }) : t("took_plain", { time: span(took) }),
        );
      }
      if (!transcript.complete) add(t("incomplete"), "badge bad");
    } else if (segments.length) {
      add(t("incomplete"), "badge bad");
    }
    const suspects = segments.filter((each) => each.suspect).length;
    if (suspects) add(t("suspects", { count: suspects }), "badge warn");
    return facts;
  }

  #tools() {
    const recording = this.#recording;
    const text = element("span", {}, t("copy"));
    const copying = element("button", { type: "button", className: "tool" }, icon("copy"), text);
    copying.onclick = async () => {
      text.textContent = t((await copy(recording.whole.text)) ? "copied" : "copy_failed");
      announce(text.textContent);
      setTimeout(() => (text.textContent = t("copy")), COPIED);
    };
    const saves = Object.keys(FORMATS).map((format) =>
      element(
        "button",
        {
          type: "button",
          className: "tool",
          "aria-label": t("download_as", { format: format.toUpperCase() }),
          onclick: () => download(recording, format),
        },
        format.toUpperCase(),
      ),
    );
    return element(
      "div",
      { className: "tools" },
      copying,
      element("div", { className: "group", role: "group", "aria-label": t("download") }, icon("download"), ...saves),
    );
  }

  #progressRow() {
    const bar = element(
      "div",
      { className: "bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": t("progress") },
      element("span", {}),
    );
    const text = element("p", { className: "progress-text" });
    const cancel = element("button", { type: "button", className: "quiet", onclick: () => this.#recording.cancel() }, t("cancel"));
    this.#progress = { bar, text, began: performance.now() };
    return element("div", { className: "progress" }, element("div", {}, text, bar), cancel);
  }

  #drawProgress() {
    if (!this.#progress) return;
    const { bar, text, began } = this.#progress;
    const { state, sent, progress } = this.#recording;
    const share = state === "sending" ? sent : progress?.seconds_total ? progress.seconds_done / this.#whole() : null;
    bar.classList.toggle("unknown", share === null || state === "waiting");
    bar.firstChild.style.width = `${(share ?? 0) * 100}%`;
    if (share === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(share * 100));
    const parts = [];
    if (state === "sending") parts.push(t("sending_at", { percent: percent(sent) }));
    else if (progress) {
      parts.push(t("working_at", { done: clock(progress.seconds_done), total: clock(this.#whole()) }), t("parts", progress));
      const passed = (performance.now() - began) / 1000;
      if (share > 0.05 && share < 1 && passed > 2)
        parts.push(t("left", { time: span(Math.max(1, Math.round((passed * (1 - share)) / share))) }));
    } else parts.push(t(state));
    text.textContent = parts.join(" · ");
    this.#player?.draw();
  }

  /** Seconds that there will be: the sidecar knows them when all is decoded, the waveform often before. */
  #whole() {
    return Math.max(this.#recording.progress?.seconds_total ?? 0, this.#recording.waveform?.duration ?? 0);
  }

  #remedies() {
    const { problem, blob, segments, live } = this.#recording;
    if (problem?.code === "unauthorized")
      return [element("button", { type: "button", className: "primary", onclick: () => this.#actions.askToken() }, t("token_needed"))];
    if (!blob || (problem && !mayPass(problem))) return [];
    const label = element("span", {}, t(live ? "as_file" : segments.length ? "again_missing" : "again"));
    const again = element(
      "button",
      { type: "button", className: "primary", onclick: () => this.#actions.again(this.#recording) },
      icon("retry"),
      label,
    );
    if (problem?.retryAfter) this.#countDown(problem, again, label);
    return [again];
  }

  #countDown(problem, button, label) {
    const after = label.textContent;
    const tick = () => {
      const seconds = Math.ceil(problem.retryAfter - (Date.now() - problem.at) / 1000);
      button.disabled = seconds > 0;
      label.textContent = seconds > 0 ? t("again_after", { seconds }) : after;
      if (seconds <= 0) clearInterval(this.#waiting);
    };
    this.#waiting = setInterval(tick, 500);
    tick();
  }

  #heard() {
    if (this.#player && !this.#player.root.isConnected) return this.draw();
    this.#player?.load();
    this.#player?.relabel();
    this.#drawProgress();
    return this.#player?.draw();
  }

  #grown() {
    this.#transcript?.grow();
    this.#live?.grow();
    this.#player?.draw();
  }
}
