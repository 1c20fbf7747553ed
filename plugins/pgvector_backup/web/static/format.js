/** Numbers, sizes, times and durations in the page's language. Sizes are 1024-based, as in the API. */

import { h } from "./dom.js";
import { locale, t } from "./i18n.js";
import { zone } from "./zone.js";

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];

/** A count, e.g. 12,000. */
export function count(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString(locale());
}

/** Bytes, e.g. 764.0 KB. */
export function size(bytes, digits = 1) {
  if (bytes === null || bytes === undefined) return "–";
  let amount = bytes;
  let unit = 0;
  while (amount >= 1023.95 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${amount.toLocaleString(locale(), { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${UNITS[unit]}`;
}

/** Bytes a second. */
export function speed(bytes) {
  return bytes === null || bytes === undefined ? "–" : `${size(bytes)}/s`;
}

/** A share from 0 to 1 as a percentage. */
export function percent(share) {
  return share.toLocaleString(locale(), { style: "percent" });
}

/** Seconds, e.g. 0.31 s, 4.2 s, 3 min 5 s, 2 h 10 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const number = (value, digits) => value.toLocaleString(locale(), { maximumFractionDigits: digits });
  if (seconds < 10) return t("unit.s", { n: number(seconds, seconds < 1 ? 2 : 1) });
  const whole = Math.round(seconds);
  if (whole < 60) return t("unit.s", { n: number(whole, 0) });
  const parts = [
    ["unit.d", 86400],
    ["unit.h", 3600],
    ["unit.min", 60],
    ["unit.s", 1],
  ];
  const first = parts.findIndex(([, length]) => whole >= length);
  const [[unit, length], next] = [parts[first], parts[first + 1]];
  const rest = Math.floor((whole % length) / next[1]);
  const head = t(unit, { n: number(Math.floor(whole / length), 0) });
  return rest ? `${head} ${t(next[0], { n: number(rest, 0) })}` : head;
}

const STEPS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** How long ago or until then, e.g. "3 hours ago". */
export function relative(moment, now = Date.now()) {
  const seconds = (new Date(moment).getTime() - now) / 1000;
  const [unit, length] = STEPS.find(([, step]) => Math.abs(seconds) >= step) ?? ["second", 1];
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: "auto" });
  if (unit === "second")
    return Math.abs(seconds) < 45
      ? t(seconds < 0 ? "time.now" : "time.soon")
      : format.format(Math.sign(seconds), "minute");
  return format.format(Math.trunc(seconds / length), unit);
}

/** A moment in the user's own time zone. */
export function moment(value, style = { dateStyle: "medium", timeStyle: "medium" }) {
  return new Date(value).toLocaleString(locale(), { ...style, timeZone: zone() });
}

/** A moment as an element: words of ours, the exact local time and the original behind them. */
export function time(value, words = moment(value)) {
  return h("time", { datetime: value, title: words === moment(value) ? value : `${moment(value)} · ${value}` }, words);
}

/** How long ago, as an element that `renewAges` keeps right. */
export function age(value) {
  const element = time(value, relative(value));
  element.dataset.age = "";
  return element;
}

/** Say anew how long ago all that was. */
export function renewAges(root) {
  for (const element of root.querySelectorAll("time[data-age]")) element.textContent = relative(element.dateTime);
}

/** The format and the compression of a set's tables, e.g. "CSV · zstd". */
export function fileFormat(tables) {
  const name = { csv: "CSV", binary: t("format.binary") };
  const all = Object.values(tables).map(({ format, compression }) =>
    [name[format] ?? format ?? "CSV", compression && compression !== "none" ? compression : null]
      .filter(Boolean)
      .join(" · "),
  );
  return [...new Set(all)].join(", ") || "–";
}
