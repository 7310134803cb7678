// A model's text as safe elements: Markdown by marked, cleaned by DOMPurify, and nothing that a model writes runs or loads.

import DOMPurify from "../vendor/purify.es.mjs";
import { Marked } from "../vendor/marked.esm.js";
import { copyText, el, icon } from "./dom.js";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
const escape = (text) =>
  text.replace(/[&<>"']/g, (found) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[found]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // Markup in an answer is text about markup, and is shown as such.
    html: ({ text, block }) => (block ? `<p>${escape(text.trimEnd())}</p>` : escape(text)),
    link({ href, raw, tokens }) {
      if (!SAFE_LINK.test(href)) return escape(raw);
      return `<a href="${escape(href)}">${this.parser.parseInline(tokens)}</a>`;
    },
    // An image would tell a stranger's server that this was read.
    image: ({ href, text, raw }) =>
      SAFE_LINK.test(href) ? `<a href="${escape(href)}">${escape(text || href)}</a>` : escape(raw),
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2); // below the page's own headings
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const CLEAN = {
  ALLOWED_TAGS: [
    ..."a p br hr strong em del code pre blockquote ul ol li h3 h4 h5 h6".split(" "),
    ..."table thead tbody tr th td".split(" "),
  ],
  ALLOWED_ATTR: ["href", "start", "align", "class"],
  ALLOWED_URI_REGEXP: SAFE_LINK,
  ADD_URI_SAFE_ATTR: ["start", "align"], // their values are no addresses
  RETURN_DOM_FRAGMENT: true,
};

function render(token) {
  const fragment = DOMPurify.sanitize(marked.parser([token], marked.defaults), CLEAN);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = el("div", { class: "table-frame", tabIndex: 0, role: "region", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const block of fragment.querySelectorAll("pre")) frameCode(block);
  return fragment;
}

function frameCode(block) {
  const code = block.querySelector("code") ?? block;
  const language = /\blanguage-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";
  const label = el("span", {}, "Copy");
  const button = el("button", { type: "button", class: "copy-code", "aria-label": "Copy code" }, icon("copy"), label);
  button.addEventListener("click", async () => {
    label.textContent = (await copyText(code.textContent)) ? "Copied" : "Not allowed";
    setTimeout(() => (label.textContent = "Copy"), 1500);
  });
  const head = el("div", { class: "code-head" }, el("span", {}, language || "text"), button);
  const frame = el("div", { class: "code-frame" }, head);
  block.replaceWith(frame);
  block.tabIndex = 0; // so that what is scrolled out of sight can be reached by keyboard
  frame.append(block);
}

/** An element that shows a growing text; only the blocks that changed are made anew. */
export class MarkdownView {
  #shown = []; // {raw, nodes} of each block

  constructor() {
    this.element = el("div", { class: "markdown" });
  }

  /** Show `text`, all of it. */
  show(text) {
    const tokens = marked.lexer(text, marked.defaults);
    let same = 0;
    while (same < this.#shown.length && same < tokens.length && this.#shown[same].raw === tokens[same].raw) same += 1;
    for (const { nodes } of this.#shown.splice(same)) nodes.forEach((node) => node.remove());
    for (const token of tokens.slice(same)) {
      const fragment = render(token);
      this.#shown.push({ raw: token.raw, nodes: [...fragment.childNodes] });
      this.element.append(fragment);
    }
  }
}
