// Curves over time as SVG.

import { ago, clock } from "./format.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const LEFT = 2.6; // rem, for the numbers of the axis
const BOTTOM = 1.25;
const TOP = 0.45;
const RIGHT = 0.5;

export function svg(tag, attributes) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// The smallest of 1, 2, 5, 10, ... that is not below `value`.
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

export class Chart {
  // `describe(i)` gives the line shown for the point under the pointer, or the last one.
  constructor(figure) {
    this.svg = figure.querySelector("svg");
    this.read = figure.querySelector(".read");
    this.pointed = null;
    this.content = null;
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  // { span, most, ticks, format, layers, describe, label }; layers from the back to the front:
  // { low, high, className | fill } is an area, { values, className } a line.
  show(content) {
    this.content = content;
    this.draw();
  }

  draw() {
    if (!this.content) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (width < 40 || height < 30) return;
    const { span, most, ticks, format, layers, label } = this.content;
    const left = LEFT * rem;
    const right = width - RIGHT * rem;
    const top = TOP * rem;
    const bottom = height - BOTTOM * rem;
    const end = span.start + span.points * span.width_s;
    this.x = (i) => left + ((i + 0.5) / span.points) * (right - left);
    this.y = (value) => bottom - (value / most) * (bottom - top);
    this.index = (x) => Math.round(((x - left) / (right - left)) * span.points - 0.5);
    const parts = [];
    for (const tick of ticks) {
      parts.push(svg("line", { class: "grid", x1: left, x2: right, y1: this.y(tick), y2: this.y(tick) }));
      const text = svg("text", { class: "tick", x: left - 0.4 * rem, y: this.y(tick), "text-anchor": "end", dy: "0.32em" });
      text.textContent = format(tick);
      parts.push(text);
    }
    for (const part of [0, 0.5, 1]) {
      const x = left + part * (right - left);
      const text = svg("text", { class: "tick", x, y: height - 0.25 * rem, "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" });
      text.textContent = part === 1 ? "now" : `${ago((1 - part) * (end - span.start))} ago`;
      parts.push(text);
    }
    for (const layer of layers) parts.push(...this.layer(layer));
    this.mark = svg("line", { class: "pointer", y1: top, y2: bottom, visibility: "hidden" });
    parts.push(this.mark);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", label);
    this.svg.replaceChildren(...parts);
    this.say();
  }

  layer({ values, low, high, className = "", fill }) {
    const upper = values ?? high;
    const pieces = [];
    for (const [first, after] of stretches(upper)) {
      const at = [];
      for (let i = first; i < after; i++) at.push(i);
      const forth = at.map((i) => `${this.x(i).toFixed(1)} ${this.y(upper[i]).toFixed(1)}`);
      if (values) {
        pieces.push(
          at.length === 1
            ? svg("circle", { class: `dot ${className}`, cx: this.x(first), cy: this.y(upper[first]), r: 2.5 })
            : svg("path", { class: `line ${className}`, d: `M${forth.join("L")}` }),
        );
        continue;
      }
      const back = at.reverse().map((i) => `${this.x(i).toFixed(1)} ${this.y(low[i]).toFixed(1)}`);
      const area = svg("path", { class: `area ${className}`, d: `M${forth.join("L")}L${back.join("L")}Z` });
      if (fill) area.setAttribute("fill", fill);
      pieces.push(area);
    }
    return pieces;
  }

  point(x) {
    this.pointed = x;
    this.say();
  }

  say() {
    if (!this.content || !this.index) return;
    const { span, known, describe } = this.content;
    let i = known - 1;
    const pointed = this.pointed !== null;
    if (pointed) i = Math.max(0, Math.min(known - 1, this.index(this.pointed)));
    this.mark.setAttribute("visibility", pointed ? "visible" : "hidden");
    this.mark.setAttribute("x1", this.x(i));
    this.mark.setAttribute("x2", this.x(i));
    const said = known > 0 ? describe(i) : "";
    this.read.textContent = pointed ? `${clock(span.start + i * span.width_s)}  ${said}` : said;
  }
}

// Where values are known without a gap: pairs of first and after last.
function stretches(values) {
  const found = [];
  let first = null;
  values.forEach((value, i) => {
    if (value === null) {
      if (first !== null) found.push([first, i]);
      first = null;
    } else if (first === null) first = i;
  });
  if (first !== null) found.push([first, values.length]);
  return found;
}

// A line without axes that fills its box.
export function spark(element, values) {
  const points = values.map((value, i) => [i, value]).filter(([, value]) => value !== null);
  const most = Math.max(0.001, ...points.map(([, value]) => value)) * 1.15;
  element.setAttribute("viewBox", `0 0 ${Math.max(1, values.length - 1)} 1`);
  if (points.length < 2) return element.replaceChildren();
  const line = points.map(([i, value]) => `${i} ${(1 - value / most).toFixed(4)}`).join("L");
  const [first] = points[0];
  const [last] = points[points.length - 1];
  element.replaceChildren(
    svg("path", { class: "under", d: `M${first} 1L${line}L${last} 1Z` }),
    svg("path", { class: "over", d: `M${line}` }),
  );
}
