// Two-dimensional maps on canvases, in colours that order the same for every eye.

import { count, percent } from "./format.js";

// Dark blue over teal to yellow; lightness grows all the way.
const STOPS = [
  [17, 24, 66],
  [35, 70, 128],
  [36, 121, 142],
  [53, 168, 130],
  [152, 205, 74],
  [253, 231, 76],
];

function colour(part) {
  const place = Math.min(1, Math.max(0, part)) * (STOPS.length - 1);
  const i = Math.min(STOPS.length - 2, Math.floor(place));
  return STOPS[i].map((value, channel) => value + (place - i) * (STOPS[i + 1][channel] - value));
}

function paint(canvas, columns, rows, parts) {
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  parts.forEach((part, i) => {
    if (part === null) return; // transparent: nothing is known there
    const [red, green, blue] = colour(part);
    image.data.set([red, green, blue, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
}

function ramp(figure) {
  const canvas = figure.querySelector(".ramp");
  if (canvas.width !== 64) paint(canvas, 64, 1, Array.from({ length: 64 }, (_, i) => i / 63));
}

export function showDetector(figure, { side, peaks }) {
  const canvas = figure.querySelector("canvas");
  const most = Math.max(...peaks);
  const total = peaks.reduce((sum, value) => sum + value, 0);
  const scale = Math.log1p(most) || 1;
  paint(canvas, side, side, peaks.map((value) => Math.log1p(value) / scale));
  ramp(figure);
  const said = total ? `0 to ${count(most)} peaks (log)` : "no peaks yet";
  figure.querySelector(".scale span").textContent = said;
  canvas.setAttribute("aria-label", `map of the detector: ${count(total)} peaks of hits, ${said} in a cell of ${side} by ${side}`);
}

export function showRaster(figure, raster) {
  figure.hidden = raster === null;
  if (raster === null) return;
  const canvas = figure.querySelector("canvas");
  const [rows, columns] = raster.shown;
  const known = raster.rates.filter((rate) => rate !== null);
  const most = Math.max(0.01, ...known);
  paint(canvas, columns, rows, raster.rates.map((rate) => (rate === null ? null : rate / most)));
  canvas.style.aspectRatio = `${columns} / ${rows}`;
  ramp(figure);
  const scanned = percent(known.length / raster.rates.length, 0);
  figure.querySelector(".scale span").textContent = `0 to ${percent(most, 0)} % hits, ${scanned} % scanned`;
  canvas.setAttribute(
    "aria-label",
    `raster scan of ${raster.rows} by ${raster.columns} positions: ${scanned} % scanned, hit rate up to ${percent(most, 0)} %`,
  );
}
