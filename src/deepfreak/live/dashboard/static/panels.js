// Everything on the page that is words and numbers.

import { ago, clock, count, dash, make, percent, setText, short } from "./format.js";
import { spark, svg } from "./charts.js";

const at = (id) => document.getElementById(id);

// Shapes tell the states apart where colours do not.
const SIGNS = {
  ok: "M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20zM10.6 17.2l-4.8-4.8l1.9-1.9l2.9 2.9l5.9-5.9l1.9 1.9z",
  idle: "M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20zM8 8h2.8v8H8zM13.2 8H16v8h-2.8z",
  warning: "M12 2L1 22h22zM10.8 9h2.4v7h-2.4zM10.8 17.4h2.4v2.4h-2.4z",
  critical: "M7.8 1h8.4L23 7.8v8.4L16.2 23H7.8L1 16.2V7.8zM10.7 5.5h2.6v8.5h-2.6zM10.7 15.9h2.6v2.6h-2.6z",
  lost: "M3.4 2L2 3.4l18.6 18.6L22 20.6zM12 5c4 0 7.7 1.7 10.3 4.200l-2 2A11.8 11.8 0 0 0 12 8zM12 17a2.5 2.5 0 1 0 0 5a2.5 2.5 0 0 0 0-5z",
};

const TICK = "M5 12.5l4.5 4.5L19 7.5";

export function showState({ severity, words }) {
  document.body.dataset.severity = severity;
  at("sign").setAttribute("d", SIGNS[severity] ?? SIGNS.idle);
  setText(at("state"), words);
}

export function showHitRate(snapshot) {
  const { value, low, high, hits, total, window_s: window } = snapshot.hit_rate;
  setText(at("hit-rate"), percent(value));
  const whole = snapshot.totals.hit_rate;
  const overall = `whole run ${percent(whole.value)} %`;
  const said = total
    ? `hit rate of the last ${window} s, ${percent(low, 1)} to ${percent(high, 1)} % (95 %): ${count(hits)} of ${count(total)} frames; ${overall}`
    : `hit rate: no frames in the last ${window} s; ${overall}`;
  setText(at("hit-rate-said"), said);
  at("figure").setAttribute("aria-label", `hit rate ${percent(value)} percent`);
  setText(at("gravest"), snapshot.alarms[0]?.text ?? "");
  spark(at("spark"), snapshot.timelines[0].hit_rate);
  document.title = `${percent(value)} % ${snapshot.state.words} - DeepFreak`;
}

export function showAlarms({ alarms, watched, now }) {
  const list = at("alarms");
  list.hidden = alarms.length === 0;
  at("no-alarm").hidden = alarms.length > 0;
  setText(at("alarms-title"), alarms.length ? `Alarms: ${alarms.length}` : "No alarm; watched are");
  if (at("no-alarm").children.length !== watched.length) {
    at("no-alarm").replaceChildren(...watched.map((name) => withSign(make("li"), TICK, make("span", "", name))));
  }
  const known = new Map([...list.children].map((item) => [item.dataset.name, item]));
  const items = alarms.map((alarm) => {
    const item = known.get(alarm.name) ?? newAlarm(alarm.name);
    item.dataset.severity = alarm.severity;
    item.querySelector("path").setAttribute("d", SIGNS[alarm.severity]);
    setText(item.querySelector("time"), `for ${ago(now - alarm.since)}`);
    item.querySelector("time").title = `since ${clock(alarm.since)}`;
    setText(item.querySelector("p"), alarm.text);
    return item;
  });
  const same = items.length === list.children.length && items.every((item, i) => item === list.children[i]);
  if (!same) list.replaceChildren(...items);
}

function newAlarm(name) {
  const item = make("li");
  item.dataset.name = name;
  return withSign(item, "", make("strong", "", name), make("time"), make("p"));
}

function withSign(item, shape, ...others) {
  const sign = svg("svg", { class: shape ? "" : "sign", viewBox: "0 0 24 24", "aria-hidden": "true" });
  sign.append(svg("path", { d: shape }));
  item.append(sign, ...others);
  return item;
}

export function showNumbers({ rate_hz: rate, latency_ms: latency, queue, totals }) {
  setText(at("rate"), short(rate));
  setText(at("frames"), `${count(totals.frames)} frames in all`);
  setText(at("p50"), short(latency.p50));
  setText(at("p99"), `99 %: ${short(latency.p99)} ms, from ${latency.since} to verdict`);
  setText(at("waiting"), count(queue.waiting));
  const full = queue.capacity ? ` (${percent(queue.waiting / queue.capacity, 0)} %)` : "";
  setText(at("capacity"), `of ${count(queue.capacity)}${full}, ${count(queue.workers)} workers`);
  setText(at("dropped"), count(queue.dropped));
  setText(at("missed"), `missed ${count(queue.missed)}, doubled ${count(queue.duplicates)}`);
  at("dropped").classList.toggle("bad", queue.dropped + queue.missed > 0);
  setText(at("saturated"), count(totals.saturated));
  const ice = totals.ice === null ? "" : `, ice in ${count(totals.ice)}`;
  setText(at("saturated-share"), `${percent(totals.frames ? totals.saturated / totals.frames : null)} % of all${ice}`);
  setText(at("unsure"), count(totals.decisions.unsure));
  setText(at("unreadable"), `unreadable ${count(totals.decisions.unreadable)}`);
}

export function showMetadata(metadata) {
  const short = ["source", "model", "policy"].filter((name) => metadata[name] !== undefined);
  fill(at("facts"), short.map((name) => [name, brief(metadata[name])]));
  fill(at("all-facts"), Object.entries(metadata).flatMap(([name, value]) => flat(name, value)));
}

function fill(list, pairs) {
  const text = JSON.stringify(pairs);
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(
    ...pairs.map(([name, value]) => {
      const pair = make("div");
      pair.title = value;
      pair.append(make("dt", "", name), make("dd", "", value));
      return pair;
    }),
  );
}

function flat(name, value) {
  if (value === null || typeof value !== "object") return [[name, String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flat(`${name}: ${key}`, inner));
}

function brief(value) {
  if (value !== null && typeof value === "object") return String(value.name ?? value.says ?? Object.values(value)[0]);
  return String(value);
}

export function showSeries(series, total) {
  const rows = series.map((each) => {
    const row = make("tr");
    const rate = each.received ? percent(each.kept / each.received) : dash;
    const texts = [
      each.name,
      clock(each.began),
      count(each.expected),
      count(each.received),
      count(each.missed),
      count(each.kept),
      rate,
      (each.ended ? "ended" : "open") + each.lacks.map((name) => `, no ${name}`).join(""),
    ];
    row.append(...texts.map((text, i) => make(i ? "td" : "th", "", text)));
    row.firstChild.scope = "row";
    row.children[4].classList.toggle("bad", each.missed > 0);
    row.lastChild.classList.toggle("bad", each.lacks.length > 0);
    return row;
  });
  at("series").replaceChildren(...rows);
  const more = total > series.length ? ` (the last ${series.length} of ${count(total)})` : "";
  setText(at("series-title"), `Series${more}`);
}

export function showTotals({ frames, decisions, classes }, colours) {
  const part = (value) => percent(frames ? value / frames : null);
  const rows = [...Object.entries(decisions), ...Object.entries(classes)].map(([name, value]) => {
    const row = make("tr");
    const head = make("th", "", name);
    head.scope = "row";
    if (colours[name]) {
      const swatch = make("i", "swatch");
      swatch.style.background = colours[name];
      head.prepend(swatch);
    }
    row.append(head, make("td", "", count(value)), make("td", "", part(value)));
    return row;
  });
  at("totals").replaceChildren(...rows);
}
