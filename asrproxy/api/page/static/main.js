// Puts the page together.

import { announce } from "./announce.js";
import { chooseAppearance } from "./appearance.js";
import { Detail } from "./detail.js";
import { takeFiles } from "./dropping.js";
import { apply, t } from "./language.js";
import { ListView } from "./list.js";
import { limit, size } from "./numbers.js";
import { Options } from "./options.js";
import { title } from "./problems.js";
import { Recording, Recordings } from "./recordings.js";
import { Sidecar } from "./sidecar.js";
import { Speaking } from "./speaking.js";
import { StatusView, verdict } from "./status-view.js";
import { TokenDialog } from "./token-dialog.js";

const MOST = { body: 200 * 2 ** 20, audio: 4 * 3600 }; // until the sidecar has said its own
const VIEWS = ["transcribe", "status"];
const NARROW = matchMedia("(max-width: 940px)");
const at = (id) => document.getElementById(id);

apply();
const sidecar = new Sidecar();
const options = new Options(sidecar);
const recordings = new Recordings();
const list = new ListView(recordings);
const tokens = new TokenDialog(sidecar);
const speaking = new Speaking(options, begin);
const detail = new Detail(at("detail"), {
  stop: (recording) => speaking.stop(recording),
  again,
  askToken: () => tokens.ask(),
  recorder: (recording) => speaking.recorder(recording),
});
const status = new StatusView(at("status"), sidecar, () => tokens.ask());

takeFiles((files) => {
  const added = files.map((file) => new Recording({ name: file.name, blob: file, parameters: options.parameters() }));
  if (!added.length) return;
  for (const each of added) recordings.add(each);
  announce(t("announce_added", { count: added.length }));
  list.select(added[0]);
  location.hash = "#/transcribe";
});

function begin(recording) {
  recordings.add(recording);
  list.select(recording);
}

function again(recording) {
  recording.again(options.parameters());
}

list.addEventListener("select", () => {
  detail.show(list.selected);
  if (list.selected && NARROW.matches) at("detail").scrollIntoView({ block: "start" });
});

recordings.addEventListener("change", () => {
  at("transcribe").classList.toggle("idle", !recordings.all.length);
  options.fold(recordings.all.length > 0);
});

recordings.addEventListener("told", ({ detail: { recording, what } }) => {
  detail.told(recording, what);
  if (what !== "state") return;
  if (recording.state === "done") announce(t("announce_done", { name: recording.name }));
  if (recording.state !== "failed") return;
  announce(t("announce_failed", { name: recording.name, why: title(recording.problem) }));
  if (recording.problem.code === "unauthorized") tokens.ask();
  sidecar.look();
});

tokens.addEventListener("accepted", () => {
  for (const each of recordings.all) if (each.problem?.code === "unauthorized" && each.blob) again(each);
});

sidecar.addEventListener("change", drawHealth);
addEventListener("hashchange", show);
addEventListener("beforeunload", (event) => recordings.busy && event.preventDefault());
chooseAppearance(() => {
  show();
  drawHealth();
  speaking.draw();
  list.draw();
});
sidecar.look();

function show() {
  const view = VIEWS.find((each) => location.hash === `#/${each}`) ?? VIEWS[0];
  for (const each of VIEWS) at(each).hidden = each !== view;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "status" ? `${t("status")} · asrproxy` : "asrproxy";
  sidecar.watch(view === "status");
  if (view === "status") status.draw();
  else detail.draw();
}

function drawHealth() {
  const [kind, text] = verdict(sidecar.status, sidecar.problem);
  at("health").hidden = !text;
  at("health").className = `health ${kind}`;
  at("health-text").textContent = text;
  const { body, audio } = sidecar.status?.takes ?? MOST;
  at("formats").textContent = t("formats", { size: size(body), hours: limit(audio) });
}
