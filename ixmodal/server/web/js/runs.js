// Answers on their way: each belongs to its conversation, and goes on while another one is looked at.

import { ApiError } from "./api.js";
import { streamCompletion } from "./completion.js";

const DRAW_MS = 60;
const KEEP_MS = 1000;

/** At most one answer a conversation. `listeners` is `{changed(conversation, message), keep(conversation), ended(…)}`. */
export class Runs {
  #running = new Map(); // conversation id → {conversation, stopper}
  #listeners;

  constructor(listeners) {
    this.#listeners = listeners;
  }

  /** The conversation of an id as it is being answered, or undefined. */
  conversation(id) {
    return this.#running.get(id)?.conversation;
  }

  /** Stop the answer of a conversation. Returns whether there was one. */
  stop(id) {
    const run = this.#running.get(id);
    run?.stopper.abort();
    return Boolean(run);
  }

  /** Fill `message`, the last of the conversation, with the model's answer to those before it. */
  async start(conversation, message, model, fields) {
    const stopper = new AbortController();
    this.#running.set(conversation.id, { conversation, stopper });
    message.running = true;
    const pace = new Pace(
      () => this.#listeners.changed(conversation, message),
      () => this.#listeners.keep(conversation),
    );
    try {
      await this.#fill(message, { ...fields, model: model.id, messages: toSend(conversation, message) }, stopper.signal, pace);
    } catch (error) {
      if (error.name === "AbortError") message.finish = "stopped";
      else if (error instanceof ApiError) message.error = { ...error, message: error.message };
      else throw error;
    } finally {
      pace.end();
      delete message.running;
      if (message.stats) message.stats.contextLength = model.context_length;
      this.#running.delete(conversation.id);
      this.#listeners.changed(conversation, message);
      this.#listeners.ended(conversation, message);
    }
  }

  async #fill(message, body, signal, pace) {
    const began = performance.now();
    const stats = {};
    message.stats = stats;
    for await (const piece of streamCompletion(body, signal)) {
      if (piece.text || piece.reasoning) {
        const now = performance.now() - began;
        stats.firstMs ??= now;
        stats.totalMs = now;
      }
      if (piece.text) message.content += piece.text;
      if (piece.reasoning) message.reasoning = (message.reasoning ?? "") + piece.reasoning;
      if (piece.finish) message.finish = piece.finish;
      if (piece.usage) stats.usage = piece.usage;
      if (piece.servedBy) message.model = piece.servedBy;
      pace.step();
    }
  }
}

/**
 * The messages of a request: those before `message`. An answer that failed before its first word is left out, and the
 * user's messages around it become one, as many templates insist on turns.
 */
function toSend(conversation, message) {
  const messages = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  for (const { role, content } of conversation.messages.slice(0, conversation.messages.indexOf(message))) {
    const last = messages.at(-1);
    if (role === "user" && last?.role === "user") last.content += `\n\n${content}`;
    else if (content) messages.push({ role, content });
  }
  return messages;
}

/** Draws and keeps no more often than makes sense, however fast tokens come. */
class Pace {
  #timers = new Map();

  constructor(draw, keep) {
    this.steps = [
      [draw, DRAW_MS],
      [keep, KEEP_MS],
    ];
  }

  step() {
    for (const [action, after] of this.steps) {
      if (this.#timers.has(action)) continue;
      const run = () => {
        this.#timers.delete(action);
        action();
      };
      this.#timers.set(action, setTimeout(run, after));
    }
  }

  end() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
