/** What a run would do, from the same plan as the run itself: a table in the dialog that asks for it. */

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { count, size } from "./format.js";
import { t } from "./i18n.js";
import { code } from "./told.js";

/**
 * The button *Preview* of a dialog.
 *
 * @param {string} kind backup or restore
 * @param {function(): object} conf what would be asked for
 */
export function preview(kind, conf) {
  return {
    words: t("action.preview"),
    act: async (wanted) => {
      const run = await api.rehearse(kind, conf(), wanted);
      return run && h("section", { class: "preview", "aria-label": t("action.preview") }, SHOWS[kind](run));
    },
  };
}

const why = (run) =>
  run.error && h("p", { class: "notice bad" }, icon("warning"), h("span", {}, run.error.response));

function table(heads, rows) {
  return h(
    "table",
    { class: "plain" },
    h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((one) => h("td", {}, one))))),
  );
}

function backup(run) {
  const told = run.result;
  if (!told?.tables) return why(run);
  const about = (value) => (value === null || value === undefined ? "–" : t("preview.about", { value }));
  return [
    h("p", {}, t("preview.backup.into", { place: told.backup_directory })),
    table(
      [t("preview.table"), t("column.rows"), t("column.size")],
      Object.entries(told.tables).map(([label, one]) =>
        one.success
          ? [code(label), about(one.rows === null ? null : count(one.rows)), about(one.bytes === null ? null : size(one.bytes))]
          : [code(label), h("span", { class: "bad-text" }, one.error), ""],
      ),
    ),
    h(
      "p",
      { class: "muted small" },
      t("preview.room", { needed: size(told.needed_bytes), free: told.free_bytes === null ? "–" : size(told.free_bytes) }),
    ),
    why(run),
  ];
}

function restore(run) {
  const told = run.result;
  const found = Object.entries(told?.restore_results ?? {});
  if (found.length === 0) return why(run);
  const columns = ["rows_before", "rows_restored", "rows_updated", "rows_skipped", "rows_left_out", "rows_after"];
  const shown = columns.filter((name) => !/updated|skipped|left_out/.test(name) || found.some(([, one]) => one[name]));
  return [
    table(
      [t("preview.table"), ...shown.map((name) => t(`preview.${name}`))],
      found.map(([, one]) => [
        [code(one.target), one.created && h("span", { class: "badge none" }, t("preview.created"))],
        ...shown.map((name) => count(one[name])),
      ]),
    ),
    found.flatMap(([, one]) => one.notes ?? []).map((note) => h("p", { class: "muted small" }, note)),
    why(run),
  ];
}

const SHOWS = { backup, restore };
