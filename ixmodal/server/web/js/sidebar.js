// The list of conversations: open, rename, delete, export, import; a drawer where the screen is narrow.

import { byId, el, iconButton, saveFile } from "./dom.js";
import { fromFile, toFile } from "./store.js";

const NARROW = window.matchMedia("(max-width: 800px)");

/** The sidebar; `actions` is `{open(id), create(), renamed(conversation), deleted(id), tell(text)}`. */
export class Sidebar {
  #store;
  #actions;
  #list = byId("conversations");
  #current = null;

  constructor(store, actions) {
    this.#store = store;
    this.#actions = actions;
    byId("new-chat").addEventListener("click", () => {
      this.close();
      actions.create();
    });
    byId("export-all").addEventListener("click", async () => this.#export("ixmodal-conversations", await store.list()));
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", (event) => this.#import(event.target));
    this.#setUpDrawer();
  }

  #setUpDrawer() {
    byId("open-sidebar").addEventListener("click", () => this.#toggle(true));
    byId("close-sidebar").addEventListener("click", () => this.close());
    byId("scrim").addEventListener("click", () => this.close());
    byId("sidebar").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && NARROW.matches) this.close();
    });
    NARROW.addEventListener("change", () => this.#toggle(false));
    this.#toggle(false);
  }

  /** Close the drawer, if it is one and open. */
  close() {
    if (NARROW.matches && document.body.classList.contains("drawer-open")) {
      this.#toggle(false);
      byId("open-sidebar").focus();
    }
  }

  #toggle(isOpen) {
    document.body.classList.toggle("drawer-open", isOpen);
    byId("sidebar").inert = NARROW.matches && !isOpen; // out of sight is out of reach
    byId("column").inert = isOpen;
    byId("open-sidebar").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) byId("new-chat").focus();
  }

  /** Show all conversations, with `current` marked. */
  async show(current) {
    this.#current = current;
    const all = await this.#store.list();
    this.#list.replaceChildren(...all.map((conversation) => this.#row(conversation)));
    byId("no-conversations").hidden = all.length > 0;
  }

  #row(conversation) {
    const title = conversation.title || "Untitled";
    const isCurrent = conversation.id === this.#current;
    const open = el("button", { type: "button", class: "row-open", title }, title);
    if (isCurrent) open.setAttribute("aria-current", "page");
    open.addEventListener("click", () => {
      this.close();
      this.#actions.open(conversation.id);
    });
    const row = el("li", { class: "row" });
    row.append(
      open,
      iconButton("edit", `Rename ${title}`, () => this.#rename(row, conversation)),
      iconButton("download", `Export ${title}`, () => this.#export("ixmodal-conversation", [conversation])),
      iconButton("delete", `Delete ${title}`, (event) => this.#delete(event.currentTarget, conversation)),
    );
    return row;
  }

  #rename(row, conversation) {
    const input = el("input", { class: "row-name", value: conversation.title, maxLength: 200, "aria-label": "New name" });
    let isDone = false;
    const finish = async (keeps) => {
      if (isDone) return;
      isDone = true;
      if (keeps && input.value.trim()) {
        const latest = (await this.#store.get(conversation.id)) ?? conversation;
        latest.title = input.value.trim();
        await this.#store.put(latest);
        this.#actions.renamed(latest);
      }
      await this.show(this.#current);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") {
        event.stopPropagation();
        finish(false);
      }
    });
    input.addEventListener("blur", () => finish(true));
    row.replaceChildren(input);
    input.select();
  }

  async #delete(button, conversation) {
    if (!button.classList.contains("sure")) {
      button.classList.add("sure");
      button.setAttribute("aria-label", `Really delete ${conversation.title || "Untitled"}?`);
      button.title = "Press again to delete";
      this.#actions.tell("Press again to delete.");
      button.addEventListener("blur", () => this.show(this.#current), { once: true });
      return;
    }
    await this.#store.delete(conversation.id);
    this.#actions.deleted(conversation.id);
    await this.show(this.#current);
    byId("new-chat").focus();
  }

  #export(name, conversations) {
    saveFile(`${name}-${new Date().toISOString().slice(0, 10)}.json`, toFile(conversations));
  }

  async #import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const found = fromFile(await file.text());
      for (const conversation of found) await this.#store.put(conversation);
      this.#actions.tell(`${found.length} conversations imported.`);
    } catch (error) {
      this.#actions.tell(error.message, { isProblem: true });
    }
    await this.show(this.#current);
  }
}
