// Conversations in this browser's IndexedDB: the latest `LIMIT` of them, whole.

export const LIMIT = 200;
const NAME = "ixmodal";
const TABLE = "conversations";

/** A new and empty conversation. */
export function newConversation(fields = {}) {
  const now = Date.now();
  return { id: crypto.randomUUID?.() ?? `${now}-${Math.random()}`, title: "", created: now, updated: now, system: "", messages: [], ...fields };
}

const settled = (asked) =>
  new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });

function open() {
  const asked = indexedDB.open(NAME, 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore(TABLE, { keyPath: "id" }).createIndex("updated", "updated");
  return settled(asked);
}

/** Where conversations are kept. Where the browser forbids it, they live as long as the page: `isKept` is false. */
export class ConversationStore {
  #database = null;
  #held = new Map();
  isKept = true;

  /** Open the database. */
  async open() {
    try {
      this.#database = await open();
    } catch {
      this.isKept = false;
    }
    return this;
  }

  #table(mode) {
    return this.#database.transaction(TABLE, mode).objectStore(TABLE);
  }

  /** All, the latest first. */
  async list() {
    const all = this.#database ? await settled(this.#table("readonly").index("updated").getAll()) : [...this.#held.values()];
    return all.sort((one, other) => other.updated - one.updated);
  }

  /** One of an id, or undefined. */
  async get(id) {
    return this.#database ? settled(this.#table("readonly").get(id)) : this.#held.get(id);
  }

  /** Keep one as it is now. Returns how many of the oldest went, to stay within `LIMIT`. */
  async put(conversation) {
    if (!this.#database) {
      this.#held.set(conversation.id, conversation);
      return 0;
    }
    await settled(this.#table("readwrite").put(conversation));
    const old = (await this.list()).slice(LIMIT);
    for (const { id } of old) await this.delete(id);
    return old.length;
  }

  /** Forget one. */
  async delete(id) {
    this.#held.delete(id);
    if (this.#database) await settled(this.#table("readwrite").delete(id));
  }
}

/** Conversations as the text of a file. */
export function toFile(conversations) {
  return JSON.stringify({ format: "ixmodal.conversations", version: 1, conversations }, null, 1);
}

/** Conversations out of the text of a file, under new ids. Throws an `Error` that says what is wrong with it. */
export function fromFile(text) {
  let read;
  try {
    read = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (read?.format !== "ixmodal.conversations" || !Array.isArray(read.conversations)) {
    throw new Error("This file holds no conversations that were exported here.");
  }
  return read.conversations.slice(0, LIMIT).map((found) => {
    const messages = Array.isArray(found?.messages) ? found.messages : [];
    return newConversation({
      title: String(found?.title ?? "Imported").slice(0, 200),
      system: String(found?.system ?? ""),
      created: Number(found?.created) || Date.now(),
      messages: messages.filter(isMessage).map(onlyKnown),
    });
  });
}

const isMessage = (found) => ["user", "assistant"].includes(found?.role) && typeof found.content === "string";
const onlyKnown = ({ role, content, reasoning, model }) => ({
  id: crypto.randomUUID?.() ?? String(Math.random()),
  role,
  content,
  ...(typeof reasoning === "string" && { reasoning }),
  ...(typeof model === "string" && { model }),
});
