// Tells a screen reader what a sighted person sees happen.

/** Reads `text` out when the reader has a moment. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}
