// Where a message is written: it grows with its text, Enter sends, Shift+Enter breaks the line.

import { byId } from "./dom.js";

/** The form; `actions` is `{send(text), stop()}`. */
export class Composer {
  #form = byId("composer");
  #area = byId("prompt");
  #send = byId("send");
  #stop = byId("stop");
  #isRunning = false;

  constructor(actions) {
    const send = () => {
      const text = this.#area.value.trim();
      if (!text || this.#isRunning) return;
      this.#area.value = "";
      this.#grow();
      actions.send(text);
    };
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
    this.#area.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    this.#area.addEventListener("input", () => this.#grow());
    this.#stop.addEventListener("click", () => actions.stop());
    this.#grow();
  }

  #grow() {
    this.#send.disabled = !this.#area.value.trim();
    this.#area.style.height = "auto";
    this.#area.style.height = `${this.#area.scrollHeight}px`;
  }

  /** Show whether an answer is on its way. */
  set isRunning(value) {
    const hadFocus = [this.#send, this.#stop].includes(document.activeElement);
    this.#isRunning = value;
    this.#send.hidden = value;
    this.#stop.hidden = !value;
    if (hadFocus) this.focus();
  }

  /** Put the caret here. */
  focus() {
    this.#area.focus();
  }
}
