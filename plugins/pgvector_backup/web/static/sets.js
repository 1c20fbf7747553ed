/** All backup sets as a table: filtered by place and words, each opening to what it holds. */

import { airflowLink } from "./airflow.js";
import { h, icon } from "./dom.js";
import { age, count, duration, fileFormat, moment, size } from "./format.js";
import { t } from "./i18n.js";
import { copiesBadge, databaseOf, isDated, keyOf, pinBadge, placeName, standingOn, verifiedBadge, whenOf } from "./set.js";

const STEP = 50; // sets shown at first, and with each "more"

const COLUMNS = ["when", "where", "rows", "size", "duration", "format", "verified", "run"];

/** What the user has chosen to see. `place`: "" all, "global", or a location's path. */
export const view = { place: "", database: "", words: "", limit: STEP, open: new Set(), ticked: new Set() };

/** Show from the beginning what a changed filter leaves. */
export function filterBy(change) {
  Object.assign(view, change, { limit: STEP });
}

/** Open one set, whatever the filter hides now. */
export function openSet(key, sets) {
  if (!chosen(sets).some((set) => keyOf(set) === key)) filterBy({ place: "", database: "", words: "" });
  view.open.add(key);
  const index = chosen(sets).findIndex((set) => keyOf(set) === key);
  while (index >= view.limit) view.limit += STEP;
}

/** The sets that the filter leaves, newest first as they were. */
export function chosen(sets) {
  const words = view.words.trim().toLowerCase();
  return sets.filter(
    (set) =>
      (view.place === "" || set.relative_path === view.place) &&
      (view.database === "" || set.database === view.database) &&
      (words === "" || wordsOf(set).includes(words)),
  );
}

/** All that a set can be found by: what the page shows of it, and what its files are called. */
function wordsOf(set) {
  return [
    set.relative_path,
    set.timestamp,
    set.backup_date,
    isDated(set) ? moment(set.created_at) : "",
    set.run_id,
    set.database,
    set.server?.system_identifier,
    fileFormat(set.tables),
    set.mode,
    ...(set.chain ?? []),
    set.pin?.reason,
    set.pin?.by,
    ...Object.entries(set.tables).flatMap(([label, table]) => [
      label,
      table.format,
      table.compression,
    ]),
    ...(set.collections ?? []).map((one) => one.name),
  ]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
}

/** Show some more of the sets. */
export function showMore() {
  view.limit += STEP;
}

/**
 * No set yet: what to do first.
 *
 * @param {function|string} backUp asks for a backup; or the reason why not
 */
export function noSets(backUp) {
  return h(
    "div",
    { class: "card empty" },
    h("h3", {}, t("empty.title")),
    h("p", {}, t("empty.text")),
    typeof backUp === "function"
      ? h(
          "button",
          { type: "button", class: "button primary", data: { focus: "first" }, on: { click: () => backUp() } },
          icon("plus"),
          t("action.backup"),
        )
      : h("p", { class: "muted" }, backUp),
    h("p", { class: "small" }, airflowLink("dags/pgvector_backup", t("empty.dag"))),
  );
}

/**
 * The table.
 *
 * @param {Array} sets what the filter leaves
 * @param {{detail: function, copies: function, toggle: function, more: function, tick: function?}} actions `detail` gives the node of an
 *   open set; `copies` how it stands at the other roots, if that is known; `standing` is all sets, for what stands on what; `tick` is told which set was ticked or no longer is
 */
export function setTable(sets, { detail, copies, standing, toggle, more, tick }) {
  const shown = sets.slice(0, view.limit);
  return [
    h(
      "table",
      { class: "sets", role: "table", "aria-labelledby": "sets-title" },
      h(
        "thead",
        { role: "rowgroup" },
        h(
          "tr",
          { role: "row" },
          COLUMNS.map((name) =>
            h("th", { role: "columnheader", scope: "col", class: `col-${name}` }, t(`column.${name}`)),
          ),
        ),
      ),
      shown.map((set, index) => setBody(set, index, { detail, copies, standing, toggle, tick })),
    ),
    sets.length > shown.length &&
      h(
        "p",
        { class: "more" },
        h(
          "button",
          { type: "button", class: "button", data: { focus: "more" }, on: { click: more } },
          t("sets.more", { count: Math.min(STEP, sets.length - shown.length) }),
        ),
      ),
  ];
}

/** What a set is in its chain: an increment of so many, or what so many increments stand on. */
function chainWords(set, standing) {
  if (set.mode === "incremental") {
    const words = t("chain.increment", { number: count(set.chain_length - 1), base: set.chain[0] });
    return h("span", { class: "chain small", data: { chain: "increment" } }, words);
  }
  const increments = standingOn(set, standing);
  if (increments === 0) return null;
  return h("span", { class: "chain small", data: { chain: "base" } }, t("chain.base", { count: increments }));
}

function setBody(set, index, { detail, copies, standing, toggle, tick }) {
  const key = keyOf(set);
  const open = view.open.has(key);
  const id = `detail-${index}`;
  const opener = h(
    "button",
    {
      type: "button",
      class: "opener",
      "aria-expanded": String(open),
      "aria-controls": open ? id : null,
      data: { focus: `open-${key}` },
      on: { click: () => toggle(set) },
    },
    icon("down"),
    h("span", {}, whenOf(set)),
  );
  const cells = {
    when: [tick && tickBox(set, key, tick), opener, isDated(set) && h("span", { class: "muted small ago" }, age(set.created_at))],
    where: [
      h("span", { class: "place" }, placeName(set)),
      databaseOf(set) && h("span", { class: "muted small place", title: t("fact.database") }, databaseOf(set)),
      set.saved_before &&
        h(
          "span",
          { class: "muted small place", title: t("set.saved_before.text", { set: set.saved_before }) },
          t("set.saved_before"),
        ),
    ],
    rows: count(set.rows),
    size: size(set.bytes),
    duration: duration(set.duration),
    format: [fileFormat(set.tables), chainWords(set, standing)],
    verified: [verifiedBadge(set), pinBadge(set), copiesBadge(copies(set))],
    run: set.run_url ? airflowLink(set.run_url, t("run.short")) : "–",
  };
  return h(
    "tbody",
    { role: "rowgroup", class: open ? "set open" : "set", data: { set: key } },
    h(
      "tr",
      {
        role: "row",
        class: "summary",
        on: { click: (event) => event.target.closest("a, button, time, label, input") || toggle(set) },
      },
      COLUMNS.map((name) =>
        h("td", { role: "cell", class: `col-${name}`, data: { label: t(`column.${name}`) } }, cells[name]),
      ),
    ),
    open &&
      h("tr", { role: "row", class: "detail", id }, h("td", { role: "cell", colspan: COLUMNS.length }, detail(set))),
  );
}

function tickBox(set, key, tick) {
  return h(
    "label",
    { class: "tick" },
    h("input", {
      type: "checkbox",
      checked: view.ticked.has(key),
      "aria-label": t("sets.tick", { set: set.timestamp }),
      data: { focus: `tick-${key}` },
      on: { change: () => tick(key) },
    }),
  );
}

/** What can be done with the ticked sets: a bar above the table, empty while none is ticked. */
export function tickedBar(sets, remove) {
  const ticked = sets.filter((set) => view.ticked.has(keyOf(set)));
  if (ticked.length === 0) return null;
  return h(
    "div",
    { class: "toolbar ticked" },
    h("span", { role: "status" }, t("sets.ticked", { count: ticked.length })),
    h(
      "button",
      { type: "button", class: "button danger", data: { focus: "remove-ticked" }, on: { click: () => remove(ticked) } },
      icon("bin"),
      t("action.remove_ticked"),
    ),
  );
}
