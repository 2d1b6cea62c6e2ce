// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const dash = "\u2013";

export function count(value) {
  return value === null || value === undefined ? dash : whole.format(value);
}

// Three figures at most: 0.42, 4.2, 42, 4200.
export function short(value) {
  if (value === null || value === undefined) return dash;
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value);
}

export function percent(share, digits) {
  if (share === null || share === undefined) return dash;
  const value = 100 * share;
  return value.toFixed(digits ?? (value < 9.95 ? 1 : 0));
}

export function clock(seconds, withSeconds = true) {
  const time = new Date(1000 * seconds);
  const parts = [time.getHours(), time.getMinutes()];
  if (withSeconds) parts.push(time.getSeconds());
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

export function ago(seconds) {
  if (seconds < 100) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 300) return `${Math.round(seconds / 30) / 2} min`;
  if (seconds < 3000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 6000) return `${Math.round(seconds / 360) / 10} h`;
  return `${Math.round(seconds / 3600)} h`;
}

// Names come from outside: they are text, wherever they are shown.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
