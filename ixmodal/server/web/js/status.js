// The status page: asks `/health`, `/models` and `/metrics` every two seconds, and shows what it is allowed to see.

import { ApiError, apiKey, getJson, request } from "./api.js";
import { byId, el } from "./dom.js";
import { bucketsOf, parseMetrics, quantile } from "./metrics.js";
import { listModels, stateOf } from "./models.js";
import { Sparkline } from "./sparkline.js";
import { setUpThemeSwitch } from "./theme_switch.js";

const EVERY_MS = 2000;
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const ms = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);
const count = (value) => number.format(value);

// The server's own names, and those it shares with vLLM.
const HISTOGRAMS = {
  first: ["ixmodal_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"],
  between: ["ixmodal_inter_token_seconds", "vllm:inter_token_latency_seconds"],
  whole: ["ixmodal_e2e_seconds", "vllm:e2e_request_latency_seconds"],
};

/** One figure with its line. */
class Figure {
  constructor(label, describe) {
    this.describe = describe;
    this.value = el("span", { class: "figure-value" }, "–");
    this.line = new Sparkline(label, { describe });
    this.element = el("div", { class: "figure" }, el("span", { class: "figure-label" }, label), this.value, this.line.element);
  }

  push(value) {
    if (value !== null) this.value.textContent = this.describe(value);
    this.line.push(value);
  }
}

class Status {
  #before = null; // the last look at /health, and when
  #buckets = {};
  hasMetrics = true;
  refused = false;
  #load = {
    tokens: new Figure("Tokens a second", count),
    running: new Figure("Running", count),
    queued: new Figure("Waiting", count),
    health: new Figure("Round trip of this page", ms),
  };
  #latencies = {
    first: new Figure("First token, median", ms),
    between: new Figure("Between tokens, median", ms),
    whole: new Figure("Whole request, median", ms),
    tail: new Figure("Whole request, 95th percentile", ms),
  };

  constructor() {
    setUpThemeSwitch(byId("theme"));
    byId("load-figures").append(...Object.values(this.#load).map((figure) => figure.element));
    byId("latency-figures").append(...Object.values(this.#latencies).map((figure) => figure.element));
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      apiKey.set(byId("api-key").value, { keep: apiKey.isKept });
      this.refused = false;
      this.hasMetrics = true;
      this.#lookAtModels();
    });
  }

  /** Look, and again while the page is seen. */
  async run() {
    for (;;) {
      if (!document.hidden) await Promise.all([this.#lookAtHealth(), this.#lookAtModels(), this.#lookAtMetrics()]);
      document.body.dataset.ready = "";
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async #lookAtHealth() {
    const began = performance.now();
    let health;
    try {
      health = await getHealth();
    } catch (error) {
      this.#showProblem(error);
      this.#before = null;
      for (const figure of Object.values(this.#load)) figure.push(null);
      return;
    }
    const now = performance.now();
    this.#showProblem(null);
    this.#load.health.push((now - began) / 1000);
    this.#load.running.push(health.running);
    this.#load.queued.push(health.queued);
    const seconds = this.#before ? (now - this.#before.now) / 1000 : 0;
    const made = this.#before ? health.tokens - this.#before.tokens : 0;
    this.#load.tokens.push(seconds && made >= 0 ? made / seconds : null); // fewer than before: it was restarted
    this.#before = { now, tokens: health.tokens };
    this.#showHealth(health);
  }

  #showHealth(health) {
    const pill = byId("server-state");
    pill.textContent = health.status;
    pill.dataset.state = health.status;
    const facts = {
      Uptime: describeTime(health.uptime),
      Requests: count(health.requests),
      Tokens: count(health.tokens),
      "Engine restarts": count(health.restarts),
    };
    if (health.activation && health.activation.ready < health.activation.expected) {
      facts["Models ready"] = `${health.activation.ready} of ${health.activation.expected}`;
    }
    byId("facts").replaceChildren(...Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    byId("health-states").hidden = !this.refused;
    if (this.refused) {
      const rows = Object.entries(health.models).map(([id, state]) => el("li", {}, el("span", {}, id), pillOf(state)));
      byId("health-states").replaceChildren(...rows);
    }
  }

  async #lookAtModels() {
    if (this.refused) return; // until there is another key
    try {
      const models = await listModels({ details: true });
      this.refused = false;
      byId("key-form").hidden = true;
      byId("models-table").hidden = false;
      byId("models").replaceChildren(...models.map((model) => this.#row(model, models)));
      byId("admin-hint").hidden = models.some((model) => model.run_time);
    } catch (error) {
      this.refused = error.status === 401;
      byId("key-form").hidden = !this.refused;
      byId("models-table").hidden = this.refused;
      byId("admin-hint").hidden = true;
    }
  }

  #row(model, models) {
    const run = model.run_time;
    const state = stateOf(model, models);
    const name = el("th", { scope: "row" }, model.id);
    if (model.agent_of) name.append(el("span", { class: "hint" }, ` agent of ${model.agent_of}`));
    if (run?.reason) name.append(el("p", { class: "reason" }, run.reason));
    const memory = run?.memory?.resident_mib ?? run?.memory?.required_mib;
    return el(
      "tr",
      {},
      name,
      el("td", {}, pillOf(state)),
      el("td", {}, run ? slots(run) : "–"),
      el("td", { class: "number" }, run ? count(run.queued) : "–"),
      el("td", { class: "number" }, memory ? `${count(memory)} MiB` : "–"),
      el("td", { class: "number" }, model.context_length ? count(model.context_length) : "–"),
      el("td", { class: "number" }, run ? count(run.restarts) : "–"),
      el("td", {}, this.#action(model, state)),
    );
  }

  #action(model, state) {
    const names = { cold: "Load", failed: "Load", ready: model.run_time?.load === "request" ? "Unload" : null };
    const name = model.run_time && !model.is_upstream ? names[state] : null;
    if (!name) return "";
    const act = async (event) => {
      event.currentTarget.disabled = true;
      try {
        const body = name === "Load" ? { model: model.id, wait: false } : { model: model.id };
        await request(`models/${name.toLowerCase()}`, { method: "POST", body });
      } catch (error) {
        byId("said").textContent = `${error.message} ${error.advice ?? ""}`;
      }
      await this.#lookAtModels();
    };
    return el("button", { type: "button", class: "button small", "aria-label": `${name} ${model.id}`, onclick: act }, name);
  }

  async #lookAtMetrics() {
    if (!this.hasMetrics) return;
    const note = byId("no-metrics");
    let samples;
    try {
      samples = parseMetrics(await (await request("metrics")).text());
    } catch (error) {
      note.textContent = error.status === 404 ? "This server has no /metrics, so latencies can't be drawn." : `/metrics is not open to this page: ${error.message}`;
      note.hidden = false;
      this.hasMetrics = ![401, 403, 404].includes(error.status); // else ask again
      byId("latency-figures").hidden = true;
      return;
    }
    note.hidden = true;
    byId("latency-figures").hidden = false;
    for (const [name, names] of Object.entries(HISTOGRAMS)) {
      const now = bucketsOf(samples, names);
      const before = this.#buckets[name];
      this.#latencies[name].push(now && before ? quantile(0.5, now, before) : null);
      if (name === "whole") this.#latencies.tail.push(now && before ? quantile(0.95, now, before) : null);
      this.#buckets[name] = now;
    }
  }

  #showProblem(error) {
    byId("server-problem").hidden = !error;
    if (error) {
      byId("server-problem").textContent = `${error.message} ${error.advice ?? ""}`;
      byId("server-state").textContent = "unreachable";
      byId("server-state").dataset.state = "unreachable";
    }
  }
}

/** `/health` has the same body when it answers 503. */
async function getHealth() {
  let response;
  try {
    response = await fetch(new URL("health", document.baseURI), { cache: "no-store" });
  } catch {
    throw new ApiError(0, "The server can't be reached.");
  }
  const body = await response.json().catch(() => null);
  if (!body?.models) throw ApiError.of(response.status, body);
  return body;
}

function slots({ busy, slots: all }) {
  const bar = el("meter", { min: 0, max: all, value: busy, "aria-label": "Slots busy" });
  return el("span", { class: "slots" }, bar, `${busy} of ${all}`);
}

const pillOf = (state) => el("span", { class: "pill", "data-state": state.split(" ")[0] }, state);

function describeTime(seconds) {
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
  ].filter(([value]) => value);
  return parts.length ? parts.slice(0, 2).map(([value, unit]) => `${value} ${unit}`).join(" ") : `${Math.floor(seconds)} s`;
}

new Status().run();
