// The latest hits as pictures, with their peaks circled or overlaid with the activation map.

import { clock, make, percent, setText } from "./format.js";
import { svg } from "./charts.js";

// Slower than they come: a picture that is gone before it was seen is none.
const REST_MS = 2000;
const MOST_CARDS = 12;

export class Gallery {
  constructor(element, empty, overlays) {
    this.element = element;
    this.empty = empty;
    this.cards = new Map();
    this.changed = 0;
    overlays.addEventListener("click", (event) => {
      const chosen = event.target.dataset?.overlay;
      if (!chosen) return;
      element.dataset.overlay = chosen;
      for (const button of overlays.children) {
        button.setAttribute("aria-pressed", String(button.dataset.overlay === chosen));
      }
    });
  }

  show(hits, colours) {
    this.empty.hidden = hits.length > 0;
    const now = performance.now();
    const fewer = this.cards.size < Math.min(hits.length, MOST_CARDS);
    if (now - this.changed < REST_MS && !fewer) return;
    const shown = hits.slice(0, MOST_CARDS);
    const ids = new Set(shown.map((hit) => hit.id));
    for (const [id, card] of this.cards) {
      if (ids.has(id)) continue;
      card.remove();
      this.cards.delete(id);
    }
    shown.forEach((hit, place) => {
      if (!this.cards.has(hit.id)) {
        this.cards.set(hit.id, makeCard(hit, colours));
        this.changed = now;
      }
      const card = this.cards.get(hit.id);
      if (this.element.children[place] !== card) {
        this.element.insertBefore(card, this.element.children[place] ?? null);
      }
    });
  }
}

function makeCard(hit, colours) {
  const card = make("figure", "hit");
  const name = `${hit.series}, frame ${hit.number}`;
  const box = make("div", "picture");
  const picture = make("img");
  picture.src = `/hits/${hit.id}.png`;
  picture.alt = `hit ${name}: ${hit.label ?? ""}, ${hit.peaks} peaks`;
  picture.addEventListener("error", () => card.classList.add("gone"));
  box.append(picture);
  if (hit.has_activation) {
    const activation = make("img", "activation");
    activation.src = `/hits/${hit.id}/activation.png`;
    activation.alt = "";
    box.append(activation);
  }
  const circles = svg("svg", { class: "circles", viewBox: "0 0 100 100", "aria-hidden": "true" });
  box.append(circles);
  circle(hit.id, circles);
  const caption = make("figcaption");
  const chip = make("span", "chip", hit.label ?? hit.decision);
  chip.style.borderColor = colours[hit.label] ?? "currentColor";
  const sure = hit.decision === "keep" ? "" : ` ${hit.decision}`;
  const line = make("span", "soft", `${percent(hit.p_crystal, 0)} %${sure}`);
  line.title = ["probability that the shot holds crystal diffraction", ...hit.reasons].join("\n");
  const where = make("span", "where soft");
  setText(where, `#${hit.number} ${clock(hit.decided)}`);
  where.title = name;
  caption.append(chip, line, where);
  if (hit.decision === "unsure" && hit.reasons.length > 0) {
    const why = make("span", "why soft", hit.reasons[0]);
    why.title = hit.reasons.join("\n");
    caption.append(why);
  }
  card.append(box, caption);
  return card;
}

async function circle(id, target) {
  try {
    const answer = await fetch(`/hits/${id}/peaks`);
    if (!answer.ok) return;
    const { peaks, rings } = await answer.json();
    target.replaceChildren(
      ...rings.map(([slow, fast, high, wide]) =>
        svg("ellipse", { cx: 100 * fast, cy: 100 * slow, rx: 100 * wide, ry: 100 * high }),
      ),
      ...peaks.map(([slow, fast]) => svg("circle", { cx: 100 * fast, cy: 100 * slow, r: 2.2 })),
    );
  } catch {
    // the connection is lost; the page says so in its own place
  }
}
