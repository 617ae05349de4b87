// Choices that outlive the page: none of them is a secret. The token is kept elsewhere, in this tab only.

const PREFIX = "asrproxy.";

/** What was kept under `name`, null: nothing. */
export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null; // storage is off
  }
}

/** Keeps it; null forgets it. */
export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // Storage is off: the choice holds until the page is closed.
  }
}
