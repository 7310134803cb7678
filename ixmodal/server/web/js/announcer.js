// What a screen reader hears: whole sentences, a few seconds' worth at a time, and never a word twice.

const EVERY_MS = 2500;

/** Speaks through an element with `aria-live="polite"`. */
export class Announcer {
  #element;
  #said = 0;
  #timer = null;
  #text = "";

  constructor(element) {
    this.#element = element;
  }

  /** Say one thing. */
  say(text) {
    this.#element.textContent = text;
  }

  /** A new answer begins. */
  begin() {
    this.#said = 0;
    this.#text = "";
    this.say("Answering.");
  }

  /** `text` is the whole answer so far. */
  follow(text) {
    this.#text = text;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#flush(/^[\s\S]*(?:[.!?。！？:]\s|\n)/.exec(this.#text.slice(this.#said))?.[0] ?? "");
    }, EVERY_MS);
  }

  /** The answer is at its end: say what was left, and how it ended. */
  end(text, how = "") {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#text = text;
    this.#flush(`${text.slice(this.#said)} ${how}`);
  }

  #flush(part) {
    if (!part.trim()) return;
    this.#said = Math.min(this.#text.length, this.#said + part.length);
    this.say(part.replace(/[`*_#|>]+/g, "").trim());
  }
}
