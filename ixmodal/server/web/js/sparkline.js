// A small line of the latest values.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 48;
const PAD = 3;

/** The latest `capacity` values as a line; null is a gap. `describe(value)` makes a value's text. */
export class Sparkline {
  #values = [];
  #path = document.createElementNS(SVG, "path");
  #dot = document.createElementNS(SVG, "circle");

  constructor(label, { capacity = 60, describe = String } = {}) {
    this.label = label;
    this.capacity = capacity;
    this.describe = describe;
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("class", "sparkline");
    this.element.setAttribute("role", "img");
    this.#dot.setAttribute("r", "2.5");
    this.element.append(this.#path, this.#dot);
    this.#draw();
  }

  /** Add a value. */
  push(value) {
    this.#values.push(value);
    if (this.#values.length > this.capacity) this.#values.shift();
    this.#draw();
  }

  #draw() {
    const known = this.#values.filter((value) => value !== null);
    const most = Math.max(...known, 0);
    const step = (WIDTH - 2 * PAD) / (this.capacity - 1);
    const start = this.capacity - this.#values.length;
    const place = (value, index) => [
      PAD + (start + index) * step,
      HEIGHT - PAD - (most ? (value / most) * (HEIGHT - 2 * PAD) : 0),
    ];
    let path = "";
    let last = null;
    this.#values.forEach((value, index) => {
      if (value === null) {
        last = null;
        return;
      }
      const [x, y] = place(value, index);
      const spot = `${x.toFixed(1)} ${y.toFixed(1)}`;
      path += last ? `L${spot}` : `M${spot}L${spot}`; // a value between two gaps is a dot
      last = [x, y];
    });
    this.#path.setAttribute("d", path);
    this.#dot.setAttribute("visibility", last ? "visible" : "hidden");
    if (last) {
      this.#dot.setAttribute("cx", last[0]);
      this.#dot.setAttribute("cy", last[1]);
    }
    const told = known.length ? `latest ${this.describe(known.at(-1))}, most ${this.describe(most)}` : "no values yet";
    this.element.setAttribute("aria-label", `${this.label}: ${told}`);
  }
}
