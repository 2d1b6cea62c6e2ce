// Listens to the server and shows what it says.

import { Chart, niceCeiling } from "./charts.js";
import { ago, make, percent, setText, short } from "./format.js";
import { Gallery } from "./hits.js";
import { showDetector, showRaster } from "./maps.js";
import { showAlarms, showMetadata, showHitRate, showNumbers, showSeries, showState, showTotals } from "./panels.js";

const at = (id) => document.getElementById(id);
const LATE_MS = 3500;
const AGAIN_MS = 2000;

const charts = Object.fromEntries(
  [...document.querySelectorAll("[data-chart]")].map((figure) => [figure.dataset.chart, new Chart(figure)]),
);
const gallery = new Gallery(at("hits"), at("no-hits"), at("overlays"));
let last = null;
let heard = null;
let span = 0;

function show(snapshot) {
  last = snapshot;
  showState(snapshot.state);
  showHitRate(snapshot);
  showAlarms(snapshot);
  showNumbers(snapshot);
  showMetadata(snapshot.metadata);
  showCharts(snapshot);
  gallery.show(snapshot.hits, snapshot.colours);
  showDetector(at("map"), snapshot.map);
  showRaster(at("raster"), snapshot.raster);
  showSeries(snapshot.series, snapshot.series_total);
  showTotals(snapshot.totals, snapshot.colours);
}

function showCharts({ timelines, colours }) {
  offerSpans(timelines);
  const line = timelines[span];
  const known = line.judged.length;
  const most = niceCeiling(Math.max(0.01, ...line.high.map((value, i) => (value === null ? 0 : Math.min(value, 2 * line.hit_rate[i] + 0.02)))));
  const top = Math.min(1, most);
  const clip = (values) => values.map((value) => (value === null ? null : Math.min(value, top)));
  charts["hit-rate"].show({
    span: line,
    known,
    most: top,
    ticks: [0, top / 2, top],
    format: (value) => `${short(100 * value)} %`,
    layers: [
      { low: line.low, high: clip(line.high), className: "band" },
      { values: clip(line.hit_rate), className: "first" },
    ],
    describe: (i) =>
      line.hit_rate[i] === null ? "no frames" : `${percent(line.hit_rate[i], 1)} % (95 %: ${percent(line.low[i], 1)} to ${percent(line.high[i], 1)})`,
    label: `hit rate over the last ${line.name}, now ${percent(line.hit_rate.at(-1) ?? null)} percent`,
  });
  showClasses(line, known, colours);
  const fastest = niceCeiling(Math.max(1, ...line.rate_hz));
  charts.rate.show({
    span: line,
    known,
    most: fastest,
    ticks: [0, fastest],
    format: short,
    layers: [
      { low: line.rate_hz.map(() => 0), high: line.rate_hz, className: "quiet" },
      { values: line.rate_hz, className: "first" },
      ...(line.dropped_hz.some((value) => value > 0) ? [{ values: line.dropped_hz, className: "bad" }] : []),
    ],
    describe: (i) => `${short(line.rate_hz[i])} /s${line.dropped_hz[i] ? `, ${short(line.dropped_hz[i])} dropped` : ""}`,
    label: `frames per second over the last ${line.name}`,
  });
  const slowest = niceCeiling(Math.max(1, ...line.p99_ms));
  charts.latency.show({
    span: line,
    known,
    most: slowest,
    ticks: [0, slowest],
    format: (value) => `${short(value)} ms`,
    layers: [
      { values: line.p99_ms, className: "second" },
      { values: line.p50_ms, className: "first" },
    ],
    describe: (i) => `median ${short(line.p50_ms[i])}, 99 % ${short(line.p99_ms[i])} ms`,
    label: `latency in milliseconds over the last ${line.name}`,
  });
}

function showClasses(line, known, colours) {
  const names = Object.keys(line.classes);
  let below = line.judged.map((judged) => (judged ? 0 : null));
  const layers = names.map((name) => {
    const low = below;
    below = low.map((value, i) => (value === null ? null : Math.min(1, value + line.classes[name][i])));
    return { low, high: below, fill: colours[name], className: "class" };
  });
  charts.classes.show({
    span: line,
    known,
    most: 1,
    ticks: [0, 0.5, 1],
    format: (value) => `${100 * value} %`,
    layers,
    describe: (i) => {
      setLegend(names, colours, (name) => line.classes[name][i]);
      return "";
    },
    label: `share of each class over the last ${line.name}: ${names.map((name) => `${name} ${percent(line.classes[name].at(-1) ?? null)} percent`).join(", ")}`,
  });
}

// From the top of the stack to its bottom.
function setLegend(names, colours, share) {
  const list = at("class-legend");
  if (list.children.length !== names.length) {
    list.replaceChildren(
      ...names.toReversed().map((name) => {
        const item = make("li");
        const swatch = make("i", "swatch");
        swatch.style.background = colours[name];
        item.append(swatch, make("span", "", name), make("b"));
        return item;
      }),
    );
  }
  names.toReversed().forEach((name, i) => setText(list.children[i].lastChild, `${percent(share(name), 1)} %`));
}

function offerSpans(timelines) {
  const group = at("spans");
  if (group.children.length === timelines.length) return;
  group.replaceChildren(
    ...timelines.map(({ name }, i) => {
      const button = make("button", "", name);
      button.type = "button";
      button.setAttribute("aria-pressed", String(i === span));
      button.addEventListener("click", () => {
        span = i;
        [...group.children].forEach((each, j) => each.setAttribute("aria-pressed", String(j === span)));
        showCharts(last);
      });
      return button;
    }),
  );
}

function listen() {
  const source = new EventSource("/events");
  source.onmessage = (event) => {
    heard = performance.now();
    document.body.dataset.link = "live";
    setText(at("link"), "live");
    show(JSON.parse(event.data));
  };
  source.onerror = () => {
    // a refusal ends it for good; a lost connection it mends itself
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  };
}

// What is old must not look like now.
setInterval(() => {
  if (heard !== null && performance.now() - heard < LATE_MS) return;
  const since = heard === null ? "" : `, last heard ${ago((performance.now() - heard) / 1000)} ago`;
  document.body.dataset.link = "lost";
  setText(at("link"), `no connection${since}`);
  if (heard !== null) showState({ severity: "lost", words: "no connection" });
}, 1000);

const root = document.documentElement;
function nameTheme() {
  setText(at("theme"), `Theme: ${root.dataset.theme ?? "auto"}`);
}
at("theme").addEventListener("click", () => {
  const next = { undefined: "light", light: "dark", dark: undefined }[root.dataset.theme];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try {
    if (next) localStorage.setItem("theme", next);
    else localStorage.removeItem("theme");
  } catch {
    // not kept, then
  }
  nameTheme();
});
nameTheme();

function seeFar() {
  const far = document.body.dataset.view !== "far";
  if (far) document.body.dataset.view = "far";
  else delete document.body.dataset.view;
  at("far").setAttribute("aria-pressed", String(far));
}
at("far").addEventListener("click", seeFar);
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "f" && !event.ctrlKey && !event.metaKey && !event.altKey) seeFar();
});
if (new URLSearchParams(location.search).has("far")) seeFar();

listen();
