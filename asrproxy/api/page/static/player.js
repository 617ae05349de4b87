// Plays a recording, and shows where: its waveform, its segments, the place. One slider for mouse, finger, keyboard and screen reader.

import { element, icon, reicon } from "./element.js";
import { t } from "./language.js";
import { clock } from "./numbers.js";
import { drawTimeline } from "./timeline.js";

const STEP = 5; // seconds of an arrow key
const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

/** Belongs to one recording for as long as that is shown. */
export class Player {
  /** Is called whenever the position has changed. */
  onmove = () => {};
  #recording;
  #audio = new Audio();
  #address = null;
  #position = 0;
  #playable = true;
  #hover = null;
  #frame = 0;
  #canvas = element("canvas", { "aria-hidden": "true" });
  #tip = element("span", { className: "tip", hidden: true, "aria-hidden": "true" });
  #playIcon = icon("play");
  #button = element("button", { type: "button", className: "play", onclick: () => this.toggle() }, this.#playIcon);
  #slider = element("div", { className: "wave", role: "slider", tabIndex: 0, "aria-valuemin": "0" }, this.#canvas, this.#tip);
  #time = element("span", { className: "time" });
  #speed = element("select", { className: "speed", onchange: () => (this.#audio.playbackRate = Number(this.#speed.value)) });
  #note = element("p", { className: "hint", hidden: true });
  #size = new ResizeObserver(() => this.draw());

  constructor(recording) {
    this.#recording = recording;
    this.root = element(
      "div",
      { className: "player" },
      this.#button,
      this.#slider,
      element("div", { className: "player-end" }, this.#time, this.#speed),
      this.#note,
    );
    for (const speed of SPEEDS) this.#speed.append(element("option", { value: speed, selected: speed === 1 }, `${speed}×`));
    this.#audio.preload = "metadata";
    this.#audio.onplay = this.#audio.onpause = () => this.#turned();
    this.#audio.onended = () => this.#turned();
    this.#audio.ontimeupdate = () => this.#moved(this.#audio.currentTime);
    this.#audio.onerror = () => this.#cannotPlay();
    this.#slider.onkeydown = (event) => this.#key(event);
    this.#slider.onpointerdown = (event) => this.#grab(event);
    this.#slider.onpointermove = (event) => this.#point(event);
    this.#slider.onpointerleave = () => this.#point(null);
    this.#size.observe(this.#slider);
    this.load();
    this.relabel();
  }

  get position() {
    return this.#position;
  }

  get playing() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  /** Takes the recording's audio, once there is some. */
  load() {
    const { blob } = this.#recording;
    if (!blob || this.#address) return;
    this.#address = URL.createObjectURL(blob);
    this.#audio.src = this.#address;
  }

  /** Plays, or pauses. */
  toggle() {
    if (this.playing) return this.#audio.pause();
    if (this.#audio.ended || this.#position >= this.#recording.duration - 0.05) this.seek(0);
    return this.#audio.play().catch(() => {}); // why not is told by onerror
  }

  /** Goes to a place, in seconds. */
  seek(seconds) {
    const to = Math.max(0, Math.min(seconds, this.#recording.duration));
    if (this.#playable && this.#address) this.#audio.currentTime = to;
    this.#moved(to);
  }

  /** The segment at the position, or the last one before it. */
  get segment() {
    return this.#recording.segments.findLast((each) => each.start <= this.#position + 0.01) ?? null;
  }

  /** Its words, in the page's language. */
  relabel() {
    this.#slider.setAttribute("aria-label", t("timeline"));
    this.#speed.setAttribute("aria-label", t("speed"));
    this.#note.textContent = t("cannot_play");
    this.#turned();
  }

  /** Ends it for good. */
  close() {
    cancelAnimationFrame(this.#frame);
    this.#size.disconnect();
    this.#audio.pause();
    this.#audio.onerror = null;
    this.#audio.removeAttribute("src");
    if (this.#address) URL.revokeObjectURL(this.#address);
  }

  /** Draws it anew: something of the recording has changed. */
  draw() {
    drawTimeline(this.#canvas, { recording: this.#recording, position: this.#position, hover: this.#hover, current: this.segment });
    this.#say();
  }

  #say() {
    const { duration } = this.#recording;
    const segment = this.segment;
    const [time, total] = [clock(this.#position), clock(duration)];
    this.#time.textContent = `${time} / ${total}`;
    this.#slider.setAttribute("aria-valuemax", duration.toFixed(1));
    this.#slider.setAttribute("aria-valuenow", this.#position.toFixed(1));
    const text = segment?.text.slice(0, 80);
    this.#slider.setAttribute(
      "aria-valuetext",
      text ? t("position_in", { time, total, number: segment.index + 1, text }) : t("position", { time, total }),
    );
  }

  #key(event) {
    const { segments, duration } = this.#recording;
    const to = {
      ArrowRight: () => this.#position + STEP,
      ArrowUp: () => this.#position + STEP,
      ArrowLeft: () => this.#position - STEP,
      ArrowDown: () => this.#position - STEP,
      PageUp: () => segments.findLast((each) => each.start < this.#position - 0.5)?.start ?? 0,
      PageDown: () => segments.find((each) => each.start > this.#position + 0.05)?.start ?? duration,
      Home: () => 0,
      End: () => duration,
    }[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey || (!to && event.key !== " ")) return;
    event.preventDefault();
    if (to) this.seek(to());
    else if (this.#playable) this.toggle();
  }

  #grab(event) {
    if (event.button !== 0) return;
    this.#slider.setPointerCapture(event.pointerId);
    this.seek(this.#secondsAt(event));
  }

  #point(event) {
    if (event?.buttons === 1 && this.#slider.hasPointerCapture(event.pointerId)) this.seek(this.#secondsAt(event));
    this.#hover = event && event.pointerType === "mouse" ? event.clientX - this.#slider.getBoundingClientRect().left : null;
    this.#tip.hidden = this.#hover === null;
    if (this.#hover !== null) {
      this.#tip.textContent = clock(this.#secondsAt(event));
      this.#tip.style.left = `${this.#hover}px`;
    }
    this.draw();
  }

  #secondsAt(event) {
    const { left, width } = this.#slider.getBoundingClientRect();
    return Math.max(0, Math.min((event.clientX - left) / width, 1)) * this.#recording.duration;
  }

  #moved(seconds) {
    this.#position = seconds;
    this.draw();
    this.onmove();
  }

  #turned() {
    const { playing } = this;
    reicon(this.#playIcon, playing ? "pause" : "play");
    this.#button.setAttribute("aria-label", t(playing ? "pause" : "play"));
    this.#button.disabled = !this.#playable || !this.#recording.blob;
    cancelAnimationFrame(this.#frame);
    const follow = () => {
      this.#moved(this.#audio.currentTime);
      this.#frame = requestAnimationFrame(follow);
    };
    if (playing) this.#frame = requestAnimationFrame(follow);
    else this.draw();
  }

  #cannotPlay() {
    this.#playable = false;
    this.#note.hidden = false;
    this.#speed.hidden = true;
    this.#turned();
  }
}
