// The chat page: puts the parts together.

import { ApiError } from "./api.js";
import { Announcer } from "./announcer.js";
import { Composer } from "./composer.js";
import { byId, el } from "./dom.js";
import { MessageView } from "./message_view.js";
import { ModelChooser } from "./models.js";
import { Runs } from "./runs.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { ConversationStore, LIMIT, newConversation } from "./store.js";
import { setUpThemeSwitch } from "./theme_switch.js";

const CURRENT = "ixmodal.conversation";
const NEAR_END = 120;

class Chat {
  #store = new ConversationStore();
  #current = newConversation();
  #views = new Map();
  #scroller = byId("scroller");
  #messages = byId("messages");
  #announcer = new Announcer(byId("announcer"));
  #follows = true;

  constructor() {
    this.runs = new Runs({
      changed: (conversation, message) => this.#changed(conversation, message),
      keep: (conversation) => this.#keep(conversation),
      ended: (conversation, message) => this.#ended(conversation, message),
    });
    this.models = new ModelChooser({ onError: (error) => this.#showServerProblem(error), onChange: () => this.#suggest() });
    this.settings = new Settings({
      onKey: () => this.models.refresh(),
      onSystem: (text) => this.#setSystem(text),
    });
    this.composer = new Composer({ send: (text) => this.#send(text), stop: () => this.runs.stop(this.#current.id) });
    this.sidebar = new Sidebar(this.#store, {
      open: (id) => this.#open(id),
      create: () => this.#show(newConversation({ system: this.#current.system })),
      renamed: (found) => this.#current.id === found.id && this.#retitle(found.title),
      deleted: (id) => this.#deleted(id),
      tell: (text, options) => this.#tell(text, options),
    });
    this.#setUpPage();
  }

  #setUpPage() {
    setUpThemeSwitch(byId("theme"));
    byId("open-settings").addEventListener("click", () => this.settings.open());
    byId("to-end").addEventListener("click", () => this.#toEnd());
    this.#scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
      this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_END;
      byId("to-end").hidden = this.#follows;
    });
    document.addEventListener("keydown", (event) => {
      const isFree = !document.querySelector("dialog[open]") && !event.target.closest(".edit-area, .row-name");
      if (event.key === "Escape" && isFree && this.runs.stop(this.#current.id)) event.preventDefault();
      if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.#show(newConversation({ system: this.#current.system }));
      }
    });
  }

  /** Open what was open last, and ask the server what it serves. */
  async start() {
    await this.#store.open();
    if (!this.#store.isKept) this.#tell("This browser keeps nothing here: conversations end with the page.");
    await this.#open(sessionStorage.getItem(CURRENT));
    await this.models.refresh();
    document.body.dataset.ready = "";
  }

  async #open(id) {
    const found = this.runs.conversation(id) ?? (id ? await this.#store.get(id) : undefined);
    for (const message of found?.messages ?? []) {
      if (message.running && !this.runs.conversation(id)) {
        delete message.running; // the page was left in the middle of it
        message.finish = "interrupted";
      }
    }
    await this.#show(found ?? newConversation());
  }

  async #show(conversation) {
    this.#current = conversation;
    sessionStorage.setItem(CURRENT, conversation.id);
    this.#draw();
    this.settings.system = conversation.system;
    this.#retitle(conversation.title);
    this.composer.isRunning = Boolean(this.runs.conversation(conversation.id));
    this.#toEnd();
    await this.sidebar.show(conversation.id);
    if (!window.matchMedia("(pointer: coarse)").matches) this.composer.focus();
  }

  #retitle(title) {
    this.#current.title = title;
    byId("title").textContent = title || "New chat";
    document.title = title ? `${title} · ixmodal` : "Chat · ixmodal";
  }

  #draw() {
    this.#views.clear();
    this.#messages.replaceChildren();
    for (const message of this.#current.messages) this.#add(message);
    this.#suggest();
  }

  #add(message) {
    const view = new MessageView(message, {
      edit: (found, text) => this.#edit(found, text),
      regenerate: (found) => this.#regenerate(found),
    });
    this.#views.set(message.id, view);
    this.#messages.append(view.element);
  }

  #suggest() {
    byId("empty").hidden = this.#current.messages.length > 0;
    byId("empty-model").textContent = this.models.chosen?.id ?? "a model";
  }

  #setSystem(text) {
    this.#current.system = text;
    if (this.#current.messages.length) this.#keep(this.#current);
  }

  #send(text) {
    const conversation = this.#current;
    conversation.messages.push({ id: newConversation().id, role: "user", content: text });
    if (!conversation.title) this.#retitle(text.split("\n")[0].slice(0, 60));
    this.#answer(conversation);
  }

  #edit(message, text) {
    this.runs.stop(this.#current.id);
    const { messages } = this.#current;
    messages.splice(messages.indexOf(message));
    this.composer.focus();
    this.#send(text);
  }

  #regenerate(message) {
    this.runs.stop(this.#current.id);
    const { messages } = this.#current;
    messages.splice(messages.indexOf(message));
    this.composer.focus();
    this.#answer(this.#current);
  }

  #answer(conversation) {
    const model = this.models.chosen;
    if (!model) {
      this.#draw();
      this.#tell("There is no model to ask yet.", { isProblem: true });
      return;
    }
    const message = { id: newConversation().id, role: "assistant", content: "", model: model.id, running: true };
    message.waitingFor = waitingFor(model);
    conversation.messages.push(message);
    conversation.updated = Date.now();
    this.#draw();
    this.#toEnd();
    this.composer.isRunning = true;
    this.#announcer.begin();
    this.#keep(conversation).then(() => this.sidebar.show(this.#current.id));
    this.runs.start(conversation, message, model, this.settings.fields);
  }

  #changed(conversation, message) {
    if (conversation.id !== this.#current.id) return;
    this.#views.get(message.id)?.update();
    if (message.running) this.#announcer.follow(message.content);
    if (this.#follows) this.#toEnd();
  }

  async #ended(conversation, message) {
    if (conversation.id === this.#current.id) {
      this.composer.isRunning = Boolean(this.runs.conversation(conversation.id));
      const how = { stopped: "Stopped.", length: "Cut off at the limit of tokens." }[message.finish] ?? "End of the answer.";
      this.#announcer.end(message.content, message.error ? message.error.message : how);
      if (message.error?.status === 401) this.#showServerProblem(Object.assign(new ApiError(401, ""), message.error));
    }
    await this.#keep(conversation);
    if (conversation.messages.length < 3) await this.sidebar.show(this.#current.id);
  }

  async #keep(conversation) {
    try {
      const gone = await this.#store.put(structuredClone(conversation));
      if (gone) this.#tell(`Only the latest ${LIMIT} conversations are kept: ${gone} older went.`);
    } catch (error) {
      this.#tell(`This conversation could not be kept (${error.name}). Export it, or delete others.`, { isProblem: true });
    }
  }

  #deleted(id) {
    this.runs.stop(id);
    if (id === this.#current.id) this.#show(newConversation());
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#follows = true;
    byId("to-end").hidden = true;
  }

  #tell(text, { isProblem = false } = {}) {
    const toast = el("div", { class: isProblem ? "toast bad" : "toast" }, text);
    byId("toasts").replaceChildren(toast);
    setTimeout(() => toast.remove(), isProblem ? 12_000 : 5000);
  }

  #showServerProblem(error) {
    const bar = byId("server-problem");
    bar.hidden = !error;
    if (!error) return;
    byId("server-problem-text").textContent = [error.message, error.advice].filter(Boolean).join(" ");
    const needsKey = error.status === 401;
    const act = byId("server-problem-act");
    act.textContent = needsKey ? "Enter key" : "Try again";
    act.onclick = () => (needsKey ? this.settings.open({ atKey: true }) : this.models.refresh());
  }
}

function waitingFor(model) {
  const state = model.run_time?.state ?? model.status ?? "ready";
  return state === "ready" ? undefined : `Waiting for the model, which is ${state}…`;
}

new Chat().start();
