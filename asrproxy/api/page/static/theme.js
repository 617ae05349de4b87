// Sets the colours that were chosen before anything is drawn; a plain script, so that the page does not flash in the wrong ones.
try {
  const theme = localStorage.getItem("asrproxy.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is off: the system's colours hold.
}
