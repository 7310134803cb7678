// The settings sheet: API key, system prompt, sampling. An empty field is not sent: the server's own default holds.

import { apiKey } from "./api.js";
import { byId, el } from "./dom.js";

const STORED = "ixmodal.settings";

const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, hint: "0 always takes the likeliest" },
  { name: "max_tokens", label: "Max tokens", min: 1, max: 1_000_000, step: 1, hint: "length of an answer" },
  { name: "top_p", label: "Top P", min: 0, max: 1, step: 0.01, hint: "share of likelihood kept" },
  { name: "top_k", label: "Top K", min: -1, max: 100_000, step: 1, hint: "tokens kept" },
  { name: "min_p", label: "Min P", min: 0, max: 1, step: 0.01, hint: "relative to the likeliest" },
  { name: "seed", label: "Seed", min: -9007199254740991, max: 9007199254740991, step: 1, hint: "repeats an answer" },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.01, max: 10, step: 0.01, hint: "over 1 repeats less" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, hint: "new topics" },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, hint: "fewer repeats" },
];

function load() {
  try {
    return JSON.parse(localStorage.getItem(STORED)) ?? {};
  } catch {
    return {};
  }
}

function numberField({ name, label, min, max, step, hint }, values, save) {
  const input = el("input", { id: `set-${name}`, type: "number", min, max, step: step === 1 ? 1 : "any", inputMode: "decimal" });
  input.setAttribute("aria-describedby", `hint-${name}`);
  input.placeholder = "default";
  input.value = values[name] ?? "";
  input.addEventListener("input", () => {
    input.setAttribute("aria-invalid", String(!input.validity.valid));
    if (input.value === "" || !input.validity.valid) delete values[name];
    else values[name] = input.valueAsNumber;
    save();
  });
  const text = el("span", { class: "hint", id: `hint-${name}` }, hint);
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input, text);
}

/** The sheet and what it holds. `onKey` is told of a new key, `onSystem` of a new system prompt. */
export class Settings {
  #values = load();
  #sheet = byId("settings");
  #key = byId("api-key");
  #system = byId("system-prompt");

  constructor({ onKey, onSystem }) {
    const save = () => this.#save();
    const sampling = byId("sampling");
    sampling.append(...NUMBERS.map((field) => numberField(field, this.#values, save)));
    this.#setUpStop();
    this.#setUpTruncation();
    this.#setUpKey(onKey);
    this.#system.addEventListener("input", () => onSystem(this.#system.value));
    byId("reset-sampling").addEventListener("click", () => this.#reset());
    byId("close-settings").addEventListener("click", () => this.#sheet.close());
    this.#sheet.addEventListener("click", (event) => {
      if (event.target === this.#sheet) this.#sheet.close(); // beside the sheet
    });
  }

  #setUpKey(onKey) {
    const keep = byId("keep-key");
    this.#key.value = apiKey.value;
    keep.checked = apiKey.isKept;
    const changed = () => {
      apiKey.set(this.#key.value, { keep: keep.checked });
      onKey();
    };
    this.#key.addEventListener("change", changed);
    keep.addEventListener("change", changed);
  }

  #setUpStop() {
    const input = byId("set-stop");
    input.value = (this.#values.stop ?? []).join("\n");
    input.addEventListener("input", () => {
      const lines = input.value.split("\n").filter(Boolean).slice(0, 4);
      if (lines.length) this.#values.stop = lines;
      else delete this.#values.stop;
      this.#save();
    });
  }

  #setUpTruncation() {
    const box = byId("set-truncation");
    box.checked = this.#values.truncation === "auto";
    box.addEventListener("change", () => {
      if (box.checked) this.#values.truncation = "auto";
      else delete this.#values.truncation;
      this.#save();
    });
  }

  #reset() {
    for (const name of Object.keys(this.#values)) delete this.#values[name];
    for (const input of this.#sheet.querySelectorAll("[id^=set-]")) {
      if (input.type === "checkbox") input.checked = false;
      else input.value = "";
      input.removeAttribute("aria-invalid");
    }
    this.#save();
  }

  #save() {
    try {
      localStorage.setItem(STORED, JSON.stringify(this.#values));
    } catch {
      // storage is forbidden or full: the settings hold until the page is left
    }
  }

  /** The fields to send with a request. */
  get fields() {
    return { ...this.#values };
  }

  /** Show the system prompt of the conversation at hand. */
  set system(text) {
    this.#system.value = text;
  }

  /** Open the sheet, at the key if that is what is missing. */
  open({ atKey = false } = {}) {
    this.#sheet.showModal();
    if (atKey) this.#key.focus();
  }
}
