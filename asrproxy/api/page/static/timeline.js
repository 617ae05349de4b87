// Draws a recording's timeline: its waveform, or its segments where there is none; below it a track of the segments; the place.

const BAR = 3; // pixels, and of the gap between two
const GAP = 2;
const TRACK = 6;
const QUIET = 0.02; // a peak: what is quieter than this is not made to look loud
const COLOURS = ["ink", "accent", "bar", "bar-dim", "track", "warn", "bad"];

/** On all of `canvas`. position: seconds. hover: pixels from the left where the mouse is, or null. current: the segment at the position. */
export function drawTimeline(canvas, { recording, position, hover, current }) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return;
  const [wide, tall] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  const to = canvas.getContext("2d");
  to.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  to.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`)]));
  const { duration } = recording;
  const place = (seconds) => (duration > 0 ? Math.min(seconds / duration, 1) * width : 0);
  const area = { to, colours, width, height: height - TRACK - 8, place, played: place(position) };
  if (recording.waveform) drawWave(area, recording);
  else for (const segment of recording.segments) drawBlock(area, segment);
  for (const segment of recording.segments) {
    const colour = segment.error ? "bad" : segment.suspect ? "warn" : segment === current ? "accent" : "track";
    fillRound(to, colours[colour], place(segment.start) + 0.75, height - TRACK, place(segment.end) - place(segment.start) - 1.5, TRACK, 3);
  }
  to.fillStyle = colours.ink;
  to.fillRect(Math.min(Math.max(area.played - 1, 0), width - 2), 0, 2, height - TRACK - 4);
  if (hover === null) return;
  to.globalAlpha = 0.4;
  to.fillRect(hover - 0.5, 0, 1, height);
  to.globalAlpha = 1;
}

function drawWave({ to, colours, width, height, played }, { waveform: { peaks }, segments, duration, underWay }) {
  const most = peaks.reduce((a, b) => Math.max(a, b), QUIET);
  const bars = Math.floor((width + GAP) / (BAR + GAP));
  for (let bar = 0; bar < bars; bar += 1) {
    const [first, end] = [bar, bar + 1].map((each) => Math.floor((each * peaks.length) / bars));
    const some = peaks.subarray(first, Math.max(end, first + 1));
    const tall = Math.max(3, Math.sqrt(some.reduce((a, b) => a + b, 0) / some.length / most) * height); // as the ear has it
    const middle = bar * (BAR + GAP) + BAR / 2;
    const seconds = (middle / width) * duration;
    const segment = segments.find((each) => each.start <= seconds && seconds < each.end);
    const still = segment || !underWay ? "bar" : "bar-dim"; // what is not recognised yet is pale
    const colour = segment?.error ? "bad" : middle <= played ? "accent" : segment?.suspect ? "warn" : still;
    fillRound(to, colours[colour], middle - BAR / 2, (height - tall) / 2, BAR, tall, BAR / 2);
  }
}

/** A segment in place of its sound. */
function drawBlock({ to, colours, height, place, played }, segment) {
  const [left, right] = [place(segment.start), place(segment.end)];
  const tall = height * (segment.error ? 0.3 : segment.text ? 0.72 : 0.14);
  const colour = segment.error ? "bad" : segment.suspect ? "warn" : "bar-dim";
  fillRound(to, colours[colour], left + 1, (height - tall) / 2, right - left - 2, tall, 6);
  if (played <= left || segment.error) return;
  to.save();
  to.clip(); // to the path of the block
  to.fillStyle = colours.accent;
  to.fillRect(left, 0, played - left, height);
  to.restore();
}

function fillRound(to, colour, x, y, width, height, radius) {
  to.fillStyle = colour;
  to.beginPath();
  to.roundRect(x, y, Math.max(width, 1.5), height, radius);
  to.fill();
}
