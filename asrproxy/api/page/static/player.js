// Plays a recording, and shows where: its waveform, its segments, the place. One slider for mouse, finger, keyboard and screen reader.

import { element, icon, reicon } from "./element.js";
import { t } from "./language.js";
import { clock } from "./numbers.js";

const STEP = 5; // seconds of an arrow key
const SPEEDS = [0.75, 1, 1.25, 1.5, 2];
const BAR = 3; // pixels, and of the gap
const GAP = 2;
const TRACK = 6;
const QUIET = 0.02; // what is quieter than this is not made to look loud

/** Says `time` whenever its position has changed. */
export class Player extends EventTarget {
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
    super();
    this.#recording = recording;
    this.root = element("div", { className: "player" }, this.#button, this.#slider, element("div", { className: "player-end" }, this.#time, this.#speed), this.#note);
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
    const { width, height } = this.#slider.getBoundingClientRect();
    if (!width) return;
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      [this.#canvas.width, this.#canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    const to = this.#canvas.getContext("2d");
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    to.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.#slider);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    this.#drawWave(to, width, height - TRACK - 8, colour);
    this.#drawTrack(to, width, height - TRACK, colour);
    const x = this.#x(this.#position, width);
    to.fillStyle = colour("ink");
    to.fillRect(Math.min(Math.max(x - 1, 0), width - 2), 0, 2, height - TRACK - 4);
    if (this.#hover !== null) {
      to.globalAlpha = 0.4;
      to.fillRect(this.#hover - 0.5, 0, 1, height);
      to.globalAlpha = 1;
    }
    this.#say();
  }

  #drawWave(to, width, height, colour) {
    const { waveform, segments } = this.#recording;
    const played = this.#x(this.#position, width);
    if (!waveform) return this.#drawBlocks(to, width, height, played, colour);
    const { peaks } = waveform;
    const most = peaks.reduce((a, b) => Math.max(a, b), QUIET);
    const bars = Math.floor((width + GAP) / (BAR + GAP));
    for (let bar = 0; bar < bars; bar += 1) {
      const x = bar * (BAR + GAP);
      const [first, last] = [Math.floor((bar * peaks.length) / bars), Math.max(Math.floor(((bar + 1) * peaks.length) / bars), Math.floor((bar * peaks.length) / bars) + 1)];
      let sum = 0;
      for (let at = first; at < last; at += 1) sum += peaks[at];
      const tall = Math.max(3, Math.sqrt(sum / (last - first) / most) * height);
      const seconds = ((x + BAR / 2) / width) * this.#recording.duration;
      const segment = segments.find((each) => each.start <= seconds && seconds < each.end);
      to.fillStyle = segment?.error ? colour("bad") : x + BAR / 2 <= played ? colour("accent") : segment?.suspect ? colour("warn") : segment || !this.#recording.underWay ? colour("bar") : colour("bar-dim");
      to.beginPath();
      to.roundRect(x, (height - tall) / 2, BAR, tall, 1.5);
      to.fill();
    }
  }

  /** With no waveform to be had, the segments are the picture. */
  #drawBlocks(to, width, height, played, colour) {
    for (const segment of this.#recording.segments) {
      const [left, right] = [this.#x(segment.start, width), this.#x(segment.end, width)];
      const tall = segment.error ? 0.3 : segment.text ? 0.72 : 0.14;
      const box = [left + 1, (height * (1 - tall)) / 2, Math.max(right - left - 2, 2), height * tall];
      to.fillStyle = segment.error ? colour("bad") : segment.suspect ? colour("warn") : colour("bar-dim");
      to.beginPath();
      to.roundRect(...box, 6);
      to.fill();
      if (played > left && !segment.error) {
        to.save();
        to.clip();
        to.fillStyle = colour("accent");
        to.fillRect(left, 0, played - left, height);
        to.restore();
      }
    }
  }

  #drawTrack(to, width, top, colour) {
    const current = this.segment;
    for (const segment of this.#recording.segments) {
      const [left, right] = [this.#x(segment.start, width), this.#x(segment.end, width)];
      to.fillStyle = segment.error ? colour("bad") : segment.suspect ? colour("warn") : segment === current ? colour("accent") : colour("track");
      to.beginPath();
      to.roundRect(left + 0.75, top, Math.max(right - left - 1.5, 1.5), TRACK, 3);
      to.fill();
    }
  }

  #x(seconds, width) {
    const { duration } = this.#recording;
    return duration > 0 ? Math.min(seconds / duration, 1) * width : 0;
  }

  #say() {
    const { duration } = this.#recording;
    const segment = this.segment;
    const [time, total] = [clock(this.#position), clock(duration)];
    this.#time.textContent = `${time} / ${total}`;
    this.#slider.setAttribute("aria-valuemax", duration.toFixed(1));
    this.#slider.setAttribute("aria-valuenow", this.#position.toFixed(1));
    const text = segment?.text.slice(0, 80);
    this.#slider.setAttribute("aria-valuetext", text ? t("position_in", { time, total, number: segment.index + 1, text }) : t("position", { time, total }));
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
    this.dispatchEvent(new Event("time"));
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
