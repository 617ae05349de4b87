// What the sidecar is doing, for people: ready or not, its providers and their circuits, limits, latency, routes, decoders.

import { element, icon, patch } from "./element.js";
import { t } from "./language.js";
import { latency, number, span, time } from "./numbers.js";
import { problemCard, title } from "./problems.js";

const SAMPLES = 90; // looks that the chart remembers
const SHOWN = new Set(["type", "ready", "reason", "can", "circuit", "in_flight", "limiter", "retry_budget", "latency", "token"]);

/** Draws into `root` what `sidecar` says, whenever it says so. token: asks for one. */
export class StatusView {
  #root;
  #sidecar;
  #token;
  #flights = [];
  #seen = null;

  constructor(root, sidecar, token) {
    this.#root = root;
    this.#sidecar = sidecar;
    this.#token = token;
    sidecar.addEventListener("change", () => this.draw());
  }

  draw() {
    const { status, problem, at } = this.#sidecar;
    if (status && at !== this.#seen) {
      this.#seen = at;
      this.#flights = [...this.#flights, status.in_flight].slice(-SAMPLES);
    }
    if (this.#root.hidden) return;
    patch(
      this.#root,
      [
        this.#head(status, problem, at),
        problem
          ? problemCard(
              problem,
              problem.code === "unauthorized"
                ? [element("button", { type: "button", className: "primary", onclick: this.#token }, t("token_needed"))]
                : [],
            )
          : null,
        ...(status ? [this.#facts(status), this.#providers(status), this.#routes(status), this.#decoders(status)] : []),
      ].filter(Boolean),
    );
    drawChart(this.#root.querySelector("canvas"), this.#flights);
  }

  #head(status, problem, at) {
    const [kind, text] = verdict(status, problem);
    return element(
      "div",
      { className: "status-head" },
      element(
        "div",
        {},
        element("h1", { id: "status-title" }, t("status")),
        element(
          "p",
          { className: "hint" },
          t(problem && status ? "status_stale" : "status_lead"),
          at ? ` ${t("status_at", { time: time(at, true) })}` : "",
        ),
      ),
      status || problem
        ? element("p", { className: `verdict ${kind}` }, element("span", { className: "dot", "aria-hidden": "true" }), text)
        : null,
    );
  }

  #facts(status) {
    const chart = element("div", { className: "chart" }, element("canvas", { "aria-hidden": "true" }));
    return element(
      "div",
      { className: "facts" },
      status.reason ? element("p", { className: "reason" }, icon("alert"), element("span", { lang: "en" }, status.reason)) : null,
      element(
        "div",
        { className: "card fact wide" },
        element("h2", {}, t("in_flight")),
        element("strong", { id: "in-flight" }, number(status.in_flight)),
        chart,
      ),
      fact(t("uptime"), span(status.uptime)),
      fact(t("version"), status.build.version, `Python ${status.build.python}`),
      fact(t("configuration"), number(status.generation), t("configuration_number")),
      status.worker
        ? fact(t("worker"), t("of", { part: number(status.worker.index + 1), whole: number(status.worker.of) }), t("worker_why"))
        : null,
      status.fleet
        ? fact(
            t("fleet"),
            status.fleet.redis,
            Object.entries(status.fleet.rates)
              .map(([name, { sidecars }]) => `${name}: ${sidecars}`)
              .join(" · "),
          )
        : null,
    );
  }

  #providers(status) {
    return element(
      "section",
      { "aria-labelledby": "providers" },
      element("h2", { className: "section", id: "providers" }, t("providers")),
      element("div", { className: "cards" }, ...Object.entries(status.providers).map((row) => providerCard(...row))),
    );
  }

  #routes(status) {
    const rows = Object.entries(status.routes).filter(
      ([name, { providers }]) => !(name in status.providers && providers.length === 1 && providers[0] === name),
    );
    if (!rows.length) return null;
    const row = ([name, { providers, ...more }]) => {
      const said = Object.entries(more).filter(([, value]) => value !== null); // hedges, budgets and what else there may be
      return element(
        "li",
        {},
        element("strong", {}, name),
        ...providers.flatMap((each, index) => [
          index ? icon("arrow") : null,
          element("span", { className: "pill" }, dot(status.providers[each]?.ready), each),
        ]),
        said.length ? element("details", {}, element("summary", {}, t("more")), tree(Object.fromEntries(said))) : null,
      );
    };
    return element(
      "section",
      { "aria-labelledby": "routes" },
      element("h2", { className: "section", id: "routes" }, t("routes"), element("small", {}, t("tried_in_order"))),
      element("ul", { className: "card routes" }, ...rows.map(row)),
    );
  }

  #decoders({ decoders }) {
    const rows = [
      [t("decoder"), decoders.decoder],
      [t("decoders_busy"), t("of", { part: decoders.busy.length, whole: decoders.workers })],
      [t("decoders_idle"), number(decoders.idle.length)],
      [t("decoders_started"), number(decoders.started)],
      [t("decoders_crashed"), number(decoders.crashed), decoders.crashed ? "bad" : ""],
      [t("decoders_hung"), number(decoders.hung), decoders.hung ? "bad" : ""],
    ];
    return element(
      "section",
      { "aria-labelledby": "decoders" },
      element("h2", { className: "section", id: "decoders" }, t("decoders")),
      element(
        "dl",
        { className: "card row-facts" },
        ...rows.map(([name, value, kind = ""]) => element("div", {}, element("dt", {}, name), element("dd", { className: kind }, value))),
      ),
    );
  }
}

/** How it stands in one word: `[kind, text]`. */
export function verdict(status, problem) {
  if (problem?.code === "unauthorized") return ["warn", t("locked")];
  if (problem) return ["bad", title(problem)];
  if (!status) return ["", ""];
  if (status.draining) return ["warn", t("draining")];
  return status.ready ? ["good", t("ready")] : ["bad", t("not_ready")];
}

function dot(good) {
  return element("span", { className: `dot ${good ? "good" : "bad"}`, "aria-hidden": "true" });
}

function fact(name, value, more = "") {
  return element(
    "div",
    { className: "card fact" },
    element("h2", {}, name),
    element("strong", {}, value),
    more ? element("p", { className: "hint" }, more) : null,
  );
}

function providerCard(name, provider) {
  const { circuit, limiter, latency: took, can } = provider;
  const label = `provider-${name}`;
  const kind = { closed: "good", open: "bad" }[circuit.state] ?? "warn";
  const share = Math.min(1, provider.in_flight / limiter.concurrency);
  const bar = element("span", { className: "small-bar", "aria-hidden": "true" }, element("span", {}));
  bar.firstChild.style.width = `${share * 100}%`;
  const abilities = [
    can.streaming ? t("can_stream") : null,
    can.options.includes("words") ? t("can_words") : null,
    t("can_longest", { time: span(can.longest) }),
    can.whole ? t("can_whole", { time: span(can.whole) }) : null,
  ].filter(Boolean);
  const queued = Object.values(limiter.queued).reduce((sum, each) => sum + each, 0);
  const rows = [
    [
      t("circuit"),
      element("span", { className: `badge ${kind}` }, t(`circuit_${circuit.state}`)),
      [
        circuit.failures ? t("circuit_failures", { count: circuit.failures }) : null,
        circuit.retry_after ? t("circuit_after", { time: span(circuit.retry_after) }) : null,
      ]
        .filter(Boolean)
        .join(" · "),
    ],
    [t("in_flight_now"), t("of", { part: number(provider.in_flight), whole: number(limiter.concurrency) }), bar],
    [
      t("rate"),
      limiter.rate === null ? t("rate_none") : t("rate_of", { rate: number(limiter.rate, 1) }),
      limiter.next_permit > 0.001 ? t("next_permit", { time: latency(limiter.next_permit) }) : "",
    ],
    [t("queued"), number(queued), queued ? t("queued_kinds", { live: 0, short: 0, long: 0, ...limiter.queued }) : ""],
    [t("budget"), number(provider.retry_budget.left, 1), ""],
    provider.token ? [t("token_state"), tokenText(provider.token), ""] : null,
  ].filter(Boolean);
  const rest = Object.entries(provider).filter(([key]) => !SHOWN.has(key));
  return element(
    "article",
    { className: "card provider", "aria-labelledby": label },
    element(
      "header",
      {},
      element("h3", { id: label }, name),
      element("span", { className: "hint" }, provider.type),
      element("span", { className: `badge ${provider.ready ? "good" : "bad"}` }, t(provider.ready ? "provider_ready" : "provider_not")),
    ),
    provider.reason ? element("p", { className: "reason" }, icon("alert"), element("span", { lang: "en" }, provider.reason)) : null,
    latencyRow(took),
    element(
      "dl",
      { className: "pairs" },
      ...rows.map(([term, value, more]) =>
        element("div", {}, element("dt", {}, term), element("dd", {}, value, more ? element("small", {}, more) : null)),
      ),
    ),
    element("p", { className: "abilities" }, ...abilities.map((each) => element("span", { className: "pill" }, each))),
    rest.length ? element("details", {}, element("summary", {}, t("more")), tree(Object.fromEntries(rest))) : null,
  );
}

function latencyRow(took) {
  if (!took.calls) return element("p", { className: "latency hint" }, t("latency"), ": ", t("latency_none"));
  const cell = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value === null ? "–" : latency(value)));
  return element(
    "div",
    { className: "latency" },
    element("p", {}, element("strong", {}, t("latency")), element("span", { className: "hint" }, t("latency_calls", took))),
    element(
      "dl",
      { "aria-label": t("latency") },
      cell(t("latency_median"), took.p50),
      cell(t("latency_p95"), took.p95),
      cell(t("latency_max"), took.max),
    ),
  );
}

/** Until when a credential is good: the contract has its expiry in the status, never the credential. */
function tokenText({ expires_in: seconds, valid, error }) {
  if (error) return t("token_error");
  if (typeof seconds === "number") return t("token_left", { time: span(Math.max(0, seconds)) });
  return t(valid === false ? "token_none" : "token_lasting");
}

/** Whatever else a provider says of itself. */
function tree(values) {
  return element(
    "dl",
    { className: "tree" },
    ...Object.entries(values).map(([key, value]) =>
      element(
        "div",
        {},
        element("dt", {}, key),
        element("dd", {}, value && typeof value === "object" && !Array.isArray(value) ? tree(value) : plain(value)),
      ),
    ),
  );
}

function plain(value) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.map(plain).join(", ") || "–";
  return typeof value === "number" ? number(value, 3) : String(value);
}

function drawChart(canvas, values) {
  if (!canvas) return;
  const { width, height } = canvas.parentElement.getBoundingClientRect();
  if (!width) return;
  [canvas.width, canvas.height] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  const to = canvas.getContext("2d");
  to.scale(devicePixelRatio, devicePixelRatio);
  const style = getComputedStyle(canvas);
  const most = Math.max(4, ...values);
  const step = width / (SAMPLES - 1);
  const [first, top] = [width - (values.length - 1) * step, 3];
  const y = (value) => height - 2 - (value / most) * (height - 2 - top);
  to.beginPath();
  values.forEach((value, index) => to.lineTo(first + index * step, y(value)));
  to.strokeStyle = style.getPropertyValue("--accent");
  to.lineWidth = 2;
  to.lineJoin = "round";
  to.stroke();
  to.lineTo(width, height);
  to.lineTo(first, height);
  to.fillStyle = style.getPropertyValue("--accent-soft");
  to.fill();
}
