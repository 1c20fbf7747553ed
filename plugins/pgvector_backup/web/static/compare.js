/** What sets tell of each other by their keys: what differs between two of them, and in which ones a row lies. */

import * as api from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { count, moment } from "./format.js";
import { t } from "./i18n.js";
import { hasKeys, isDated } from "./set.js";

const KINDS = ["added", "changed", "removed"];

const code = (text) => h("code", {}, text);

function select(id, words, options) {
  const control = h(
    "select",
    { id },
    options.map(([value, shown]) => h("option", { value }, shown)),
  );
  return [control, h("div", { class: "field" }, h("label", { for: id }, words), control)];
}

const nameOf = (set) => (isDated(set) ? `${moment(set.created_at)} (${set.timestamp})` : set.timestamp);

function table(heads, rows) {
  return h(
    "table",
    { class: "plain" },
    h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((one) => h("td", {}, one))))),
  );
}

/**
 * Compare two sets of one location.
 *
 * @param {{set: object, sets: Array}} about the set to begin with, and all of its location, the newest first
 */
export function askCompare({ set, sets }) {
  const able = sets.filter(hasKeys);
  const options = able.map((one) => [one.timestamp, nameOf(one)]);
  const [before, beforeField] = select("compare-a", t("compare.a"), options);
  const [after, afterField] = select("compare-b", t("compare.b"), options);
  const at = able.findIndex((one) => one.timestamp === set.timestamp);
  const other = able[at + 1] ?? able[at - 1] ?? set;
  const pair = at + 1 < able.length ? [other, set] : [set, other];
  [before.value, after.value] = pair.map((one) => one.timestamp);
  ask({
    title: t("compare.title"),
    content: [beforeField, afterField],
    confirm: t("action.compare"),
    backOut: t("action.close"),
    act: async () => differences(await api.diff(set.relative_path, before.value, after.value)),
  });
}

function differences(told) {
  const parts = Object.entries(told.tables).map(([label, one]) =>
    h(
      "section",
      { class: "difference", data: { table: label } },
      h("h3", {}, code(label)),
      h("p", { class: "figures" }, figures(one).map((piece) => h("span", {}, piece))),
      byCollection(one.collections),
      KINDS.map((kind) => keysOf(kind, one.keys[kind], one[kind])),
    ),
  );
  return h("div", { class: "differences" }, parts, notes(told.notes));
}

const figures = (one) =>
  [
    ...KINDS.map((kind) => `${t(`compare.${kind}`)}: ${count(one[kind])}`),
    `${t("compare.unchanged")}: ${count(one.unchanged)}`,
    t("compare.rows", { before: count(one.rows_before), after: count(one.rows_after) }),
  ];

function byCollection(collections) {
  const entries = Object.entries(collections ?? {});
  if (entries.length === 0) return null;
  return table(
    [t("collection.name"), ...KINDS.map((kind) => t(`compare.${kind}`))],
    entries.map(([name, counts]) => [code(name), ...KINDS.map((kind) => count(counts[kind]))]),
  );
}

function keysOf(kind, keys, all) {
  if (!keys?.length) return null;
  const words = t("compare.keys", { what: t(`compare.${kind}`), shown: count(keys.length), all: count(all) });
  return h(
    "details",
    { class: "fold" },
    h("summary", {}, words),
    h("ul", { class: "keys" }, keys.map((key) => h("li", {}, code([key].flat().join(", "))))),
  );
}

const notes = (listed) => (listed ?? []).map((one) => h("p", { class: "muted small" }, one));

/**
 * Look for a row in the sets of a location.
 *
 * @param {{locations: Array, open: function}} about the API's locations; `open` shows a set
 */
export function askFind({ locations, open }) {
  const able = locations.filter((one) => one.backups.some(hasKeys));
  const [place, placeField] = select("find-place", t("find.place"), able.map((one) => [one.relative_path, one.relative_path]));
  const key = h("textarea", { id: "find-key", rows: 1, spellcheck: "false", "aria-describedby": "find-help" });
  const keyField = h(
    "div",
    { class: "field" },
    h("label", { for: "find-key" }, t("find.key")),
    key,
    h("p", { class: "help", id: "find-help" }, t("find.key.help")),
  );
  const dialog = ask({
    title: t("find.title"),
    content: [keyField, placeField],
    confirm: t("action.find_go"),
    backOut: t("action.close"),
    act: async () => {
      const wanted = key.value.split("\n").filter((line) => line !== "");
      if (wanted.length === 0) throw new Error(t("find.no_key"));
      return versions(await api.find(place.value, wanted), (timestamp) => {
        dialog.close();
        open(place.value, timestamp);
      });
    },
  });
}

function versions(told, show) {
  const parts = Object.entries(told.tables).map(([label, found]) =>
    h(
      "section",
      { class: "difference", data: { table: label } },
      h("h3", {}, code(label)),
      h("ul", { class: "versions" }, found.map((one) => h("li", {}, version(one, show)))),
    ),
  );
  return h(
    "div",
    { class: "differences" },
    parts.length ? parts : h("p", {}, t("find.nowhere", { count: told.sets_searched })),
    notes(told.notes),
  );
}

function version(one, show) {
  const until = one.until ? t("find.until", { moment: moment(one.until) }) : t("find.still");
  return [
    h("p", {}, t("find.since", { moment: moment(one.since) }), " · ", until),
    h(
      "p",
      { class: "small" },
      t("find.in"),
      " ",
      one.sets.flatMap((id, index) => [
        index > 0 && ", ",
        h("button", { type: "button", class: "link", on: { click: () => show(id) } }, code(id)),
      ]),
    ),
  ];
}
