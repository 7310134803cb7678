// The models of the server, how each stands, and the one that is chosen.

import { getJson, request } from "./api.js";
import { byId, el } from "./dom.js";

const CHOSEN = "ixmodal.model";
const SLOWLY_MS = 10_000;
const CLOSELY_MS = 1000;
const MOVING = ["pulling", "loading", "restarting", "starting"];

/** How a model stands, in a few words. An agent stands as its model does. */
export function stateOf(model, models = []) {
  if (model.agent_of) {
    const below = models.find((found) => found.id === model.agent_of);
    return below ? stateOf(below) : "ready";
  }
  const state = model.run_time?.state ?? model.status ?? "ready";
  const percent = model.run_time?.progress?.percent;
  return state === "pulling" && percent !== null && percent !== undefined ? `pulling ${percent}%` : state;
}

let hasRunTime = true;

/** The models that the key may use. With `details` admins see their run time too, where the server tells it. */
export async function listModels({ details }) {
  const found = await getJson("v1/models");
  const wanted = hasRunTime && (details || found.data.some((model) => (model.status ?? "ready") !== "ready"));
  const more = wanted ? await getJson("models").catch(noRunTime) : null;
  const running = new Map((more?.data ?? []).map((model) => [model.id, model.run_time]));
  return found.data.map((model) => (running.get(model.id) ? { ...model, run_time: running.get(model.id) } : model));
}

function noRunTime(error) {
  hasRunTime = error.status !== 404; // never ask an older server again
  return null;
}

/** The chooser: a select, the state beside it, and a button that loads where the server lets us. */
export class ModelChooser {
  #select = byId("model");
  #state = byId("model-state");
  #load = byId("load-model");
  #timer = null;
  #onError;
  #onChange;
  models = [];

  constructor({ onError, onChange }) {
    this.#onError = onError;
    this.#onChange = onChange;
    this.#select.addEventListener("change", () => {
      this.#remember();
      this.#show();
      this.#onChange();
    });
    this.#load.addEventListener("click", () => this.#loadChosen());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  /** The model that is chosen, or undefined while none is known. */
  get chosen() {
    return this.models.find((model) => model.id === this.#select.value);
  }

  /** Choose a model by its id, if there is one. */
  choose(id) {
    if (!this.models.some((model) => model.id === id)) return;
    this.#select.value = id;
    this.#show();
  }

  /** Ask the server again, and go on asking: closely while something loads. */
  async refresh() {
    clearTimeout(this.#timer);
    let isMoving = false;
    let isRefused = false;
    try {
      this.models = await listModels({ details: false });
      this.#fill();
      this.#onError(null);
      isMoving = this.models.some((model) => MOVING.some((state) => stateOf(model).startsWith(state)));
    } catch (error) {
      this.#onError(error);
      isRefused = error.status === 401; // until there is another key
    }
    clearTimeout(this.#timer);
    if (!document.hidden && !isRefused) this.#timer = setTimeout(() => this.refresh(), isMoving ? CLOSELY_MS : SLOWLY_MS);
  }

  #fill() {
    const wanted = this.#select.value || this.#remembered();
    const usable = this.models.filter((model) => model.capabilities?.chat !== false);
    const known = [...this.#select.options].map((option) => option.value);
    if (known.join("\n") !== usable.map((model) => model.id).join("\n")) {
      this.#select.replaceChildren(...usable.map((model) => el("option", { value: model.id }, model.id)));
      this.#select.disabled = usable.length === 0;
      if (usable.some((model) => model.id === wanted)) this.#select.value = wanted;
    }
    for (const option of this.#select.options) {
      const state = stateOf(usable.find((model) => model.id === option.value), this.models);
      option.textContent = state === "ready" ? option.value : `${option.value} (${state})`;
    }
    this.#show();
    this.#onChange();
  }

  #show() {
    const model = this.chosen;
    const state = model ? stateOf(model, this.models) : "unknown";
    this.#state.textContent = state;
    this.#state.dataset.state = state.split(" ")[0];
    this.#state.title = model?.run_time?.reason ?? "";
    this.#load.hidden = !(model?.run_time && ["cold", "failed"].includes(state));
  }

  async #loadChosen() {
    this.#load.hidden = true;
    try {
      await request("models/load", { method: "POST", body: { model: this.chosen.id, wait: false } });
    } catch (error) {
      this.#onError(error);
      return;
    }
    await this.refresh();
  }

  #remembered() {
    try {
      return localStorage.getItem(CHOSEN);
    } catch {
      return null;
    }
  }

  #remember() {
    try {
      localStorage.setItem(CHOSEN, this.#select.value);
    } catch {
      // storage is forbidden: the choice holds until the page is left
    }
  }
}
