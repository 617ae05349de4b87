// Errors as a person can act on them: what happened, what to do, what the sidecar said.

import { element, icon } from "./element.js";
import { t } from "./language.js";

/** In a few words. */
export function title({ code }) {
  return told(code)[0];
}

/** Whether the same recording may come through when it is sent again. */
export function mayPass({ code }) {
  return !["invalid_audio", "unsupported_media", "body_too_large", "audio_too_long"].includes(code);
}

/** The whole of it. actions: buttons. */
export function problemCard(problem, actions = []) {
  const [what, advice] = told(problem.code);
  const { message, param, provider, provider_status: status, request_id: id } = problem.error;
  const facts = [
    provider ? t("from_provider", { provider }) : null,
    status ? t("provider_status", { status }) : null,
    param ? element("code", {}, param) : null,
  ].filter(Boolean);
  return element(
    "div",
    { className: "problem", role: "group", "aria-label": what },
    icon("alert"),
    element(
      "div",
      {},
      element("h3", {}, what),
      element("p", {}, advice),
      message
        ? element(
            "p",
            { className: "said" },
            element("span", { className: "label" }, t("message_said")),
            element("q", { lang: "en" }, message),
            ...facts.flatMap((fact) => [" · ", fact]),
          )
        : null,
      id ? element("p", { className: "said" }, element("span", { className: "label" }, t("request_id")), element("code", {}, id)) : null,
      actions.length ? element("div", { className: "buttons" }, ...actions) : null,
    ),
  );
}

/** What happened, and what to do. A code of a newer sidecar's is a defect of this page's. */
function told(code) {
  return t("problems")[code] ?? t("problems").internal;
}
