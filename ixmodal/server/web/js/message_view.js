// One message as it is shown: the user's own words as they are, an answer as Markdown with its thought folded away.

import { ApiError } from "./api.js";
import { copyText, el, icon, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";

const HOW_IT_ENDED = {
  length: "Cut off at the limit of tokens.",
  stopped: "Stopped.",
  interrupted: "Interrupted: the page was left while this was written.",
};
const number = new Intl.NumberFormat("en");

/** Tokens a second, time to the first, and how much of the context was used, as far as they are known. */
export function describeStats({ usage, firstMs, totalMs, contextLength }) {
  const parts = [];
  const tokens = usage?.completion_tokens;
  if (tokens) {
    parts.push(`${number.format(tokens)} tokens`);
    const seconds = (totalMs - firstMs) / 1000;
    if (tokens > 1 && seconds > 0) parts.push(`${((tokens - 1) / seconds).toFixed(1)} tokens/s`);
  }
  if (firstMs !== undefined) parts.push(`first after ${(firstMs / 1000).toFixed(2)} s`);
  if (usage && contextLength) {
    parts.push(`context ${number.format(usage.total_tokens)} of ${number.format(contextLength)}`);
  }
  if (usage?.dropped_messages) parts.push(`${usage.dropped_messages} oldest messages left out`);
  return parts.join(" · ");
}

/** Shows a message of a conversation; `update` draws it as it is now. */
export class MessageView {
  #message;
  #actions;
  #body = el("div", { class: "message-body" });
  #markdown = null;
  #thought = null;
  #foot = el("footer", { class: "message-foot" });

  /**
   * @param message the message.
   * @param actions `{edit(message, text), regenerate(message)}`.
   */
  constructor(message, actions) {
    this.#message = message;
    this.#actions = actions;
    const who = message.role === "user" ? "You" : (message.model ?? "Model");
    this.element = el(
      "article",
      { class: `message ${message.role}`, "aria-label": `${who} said`, "data-id": message.id },
      message.role === "assistant" && el("div", { class: "message-who" }, who),
      this.#body,
      this.#foot,
    );
    this.update();
  }

  /** Draw the message as it is now. */
  update() {
    if (this.#message.role === "user") this.#drawOwn();
    else this.#drawAnswer();
  }

  #drawOwn() {
    const { content } = this.#message;
    this.#body.replaceChildren(el("div", { class: "own-text" }, content));
    this.#foot.replaceChildren(
      iconButton("edit", "Edit and send again", () => this.#edit()),
      this.#copyButton(),
    );
  }

  #drawAnswer() {
    const { content, reasoning, running, finish, error, stats, waitingFor } = this.#message;
    this.element.toggleAttribute("data-running", Boolean(running));
    this.element.setAttribute("aria-busy", String(Boolean(running)));
    if (reasoning) this.#drawThought(reasoning, running && !content);
    this.#markdown ??= this.#makeMarkdown();
    this.#markdown.show(content);
    this.#note("waiting", running && !content && !reasoning ? (waitingFor ?? "Waiting for the first token…") : "");
    this.#note("ended", !running && HOW_IT_ENDED[finish] ? HOW_IT_ENDED[finish] : "");
    this.#drawError(running ? null : error);
    if (running) {
      this.#foot.replaceChildren();
      return;
    }
    this.#foot.replaceChildren(
      this.#copyButton(),
      iconButton("again", "Answer again", () => this.#actions.regenerate(this.#message)),
      stats ? el("span", { class: "stats" }, describeStats(stats)) : "",
    );
  }

  #makeMarkdown() {
    const view = new MarkdownView();
    this.#body.append(view.element);
    return view;
  }

  #drawThought(text, isThinking) {
    if (!this.#thought) {
      this.#thought = el("details", { class: "thought" }, el("summary", {}, ""), el("div", { class: "thought-text", tabIndex: 0 }));
      this.#body.prepend(this.#thought);
    }
    this.#thought.firstChild.textContent = isThinking ? "Thinking…" : "Thought";
    this.#thought.lastChild.textContent = text;
  }

  #note(kind, text) {
    let note = this.#body.querySelector(`:scope > .${kind}`);
    if (!text) return note?.remove();
    if (!note) this.#body.append((note = el("p", { class: `note ${kind}` })));
    note.textContent = text;
    return note;
  }

  #drawError(error) {
    this.#body.querySelector(":scope > .problem")?.remove();
    if (!error) return;
    const found = Object.assign(new ApiError(error.status, error.message), error);
    this.#body.append(
      el("div", { class: "problem" }, icon("warning"), el("div", {}, el("strong", {}, error.message), found.advice && ` ${found.advice}`)),
    );
  }

  #copyButton() {
    const button = iconButton("copy", "Copy text", async () => {
      const done = await copyText(this.#message.content);
      button.title = done ? "Copied" : "The browser did not allow it";
      button.setAttribute("aria-label", button.title);
      button.classList.toggle("done", done);
      setTimeout(() => button.classList.remove("done"), 1500);
    });
    return button;
  }

  #edit() {
    const area = el("textarea", { class: "edit-area", value: this.#message.content, "aria-label": "Edit your message", rows: 3 });
    const cancel = () => {
      this.#drawOwn();
      this.#foot.firstChild.focus();
    };
    const send = () => area.value.trim() && this.#actions.edit(this.#message, area.value.trim());
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") cancel();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    this.#body.replaceChildren(area, el("p", { class: "hint" }, "Sending replaces what came after this message."));
    this.#foot.replaceChildren(
      el("button", { type: "button", class: "button primary", onclick: send }, "Send"),
      el("button", { type: "button", class: "button", onclick: cancel }, "Cancel"),
    );
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}
