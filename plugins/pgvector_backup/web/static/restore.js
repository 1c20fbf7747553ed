/** The dialog of a restore: what is wanted, which set goes into which database, what will happen. */

import * as api from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { fieldsFor } from "./fields.js";
import { t } from "./i18n.js";
import { preview } from "./preview.js";
import { copiesOf, keyOf } from "./set.js";
import { serverWords, Target } from "./target.js";
import { code, danger, mixed, names, will } from "./told.js";

/** What a restore may be for; each puts the fields below as it takes. */
const AIMS = {
  missing: { truncate_before_restore: false, on_conflict: "skip" },
  equal: { truncate_before_restore: true, on_conflict: "error" },
  copy: { truncate_before_restore: false, on_conflict: "error" },
};

function aimsField(form) {
  const name = "restore-aim";
  const put = (aim) => {
    for (const [key, value] of Object.entries(AIMS[aim])) {
      const control = form.nodes.find((node) => node.dataset.key === key)?.querySelector("input, select");
      if (control?.type === "checkbox") control.checked = value;
      else if (control) control.value = value;
    }
    if (aim === "copy")
      form.nodes.find((node) => node.dataset.key === "rename_collection")?.scrollIntoView({ block: "nearest" });
  };
  return h(
    "fieldset",
    { class: "field aims", data: { key: "aim" } },
    h("legend", {}, t("restore.aim")),
    Object.keys(AIMS).map((aim) =>
      h(
        "label",
        { class: "choice" },
        h("input", { type: "radio", name, value: aim, on: { change: () => put(aim) } }),
        h("span", {}, t(`restore.aim.${aim}`)),
      ),
    ),
  );
}

const OF_THE_DIALOG = ["backup_path", "task_id", "timestamp", "dry_run", "into_other_database"];

/** Each name once, with its rows. */
function pickable(collections) {
  const rows = new Map();
  for (const one of collections) rows.set(one.name, (rows.get(one.name) ?? 0) + one.rows);
  return [...rows].map(([value, number]) => ({ value, note: t("rows", { count: number }) }));
}

/** What a set is of: database and server. */
const sourceOf = (set) => [
  t("target.database"),
  " ",
  code(set.database),
  set.server && ` (${serverWords(set.server)})`,
];

/** The only collections that a restore is of; undefined: all. */
const onlyOf = (conf) => conf.collections ?? (conf.rename_collection && Object.keys(conf.rename_collection));

/** Rows of these collections, their own row each among them; null where the set does not tell of one of them. */
function rowsIn(only, collections) {
  const rows = new Map();
  for (const one of collections) rows.set(one.name, (rows.get(one.name) ?? 0) + one.rows);
  return only.every((name) => rows.has(name)) ? only.reduce((sum, name) => sum + rows.get(name) + 1, 0) : null;
}

/** Which sentence tells what will be written. */
function willKey(conf) {
  if (conf.schema) return "restore.will.schema";
  return conf.on_conflict === "skip" && conf.truncate_before_restore !== true ? "restore.will.skip" : "restore.will";
}

/** Restore a set, or some of its tables. */
export function askRestore({ overview, set: given, detail, started }) {
  const set = { ...given, tables: given.tables ?? {} };
  const labels = Object.keys(set.tables);
  const collections = pickable(detail?.collections ?? set.collections ?? []);
  const form = fieldsFor(overview.restore_keys, "restore", {
    skip: OF_THE_DIALOG,
    choices: { tables: labels, ...(collections.length && { collections: { pick: collections } }) },
    values: { backup_before_restore: true },
    suggestions: {
      db_connection: overview.connections?.known,
      from_copy: copiesOf(detail ?? set),
      rename_collection: collections.map((one) => one.value),
    },
  });
  const target = new Target("restore", overview);
  const chosen = (conf) => conf.tables ?? labels;
  const replaces = (conf) => conf.truncate_before_restore === true || conf.on_conflict === "update";
  const largest = (conf) =>
    [...chosen(conf)].sort((one, other) => (set.tables[other].rows ?? 0) - (set.tables[one].rows ?? 0))[0] ?? null;
  const first = form.nodes.find((node) => node.dataset.key === "backup_before_restore");
  const asked = () => {
    const conf = form.conf();
    // Whoever copies a collection under a new name means that one, not all others beside it.
    if (conf.rename_collection && !conf.collections) conf.collections = Object.keys(conf.rename_collection);
    if (!replaces(conf)) delete conf.backup_before_restore;
    const intoOther = overview.restore_keys.some((key) => key.name === "into_other_database");
    if (intoOther && target.differs(conf, set)) conf.into_other_database = true;
    return { backup_path: set.relative_path, timestamp: set.timestamp, ...conf };
  };
  ask({
    title: t("restore.title", { set: set.timestamp }),
    content: [set.fault && danger(t("restore.damaged"), " ", set.fault), aimsField(form), ...form.nodes].filter(Boolean),
    consequence: () => {
      const conf = form.conf();
      const tables = chosen(conf);
      first.hidden = !replaces(conf); // nothing is lost otherwise
      if (tables.length === 0) return danger(t("restore.no_table"));
      const rows = tables.map((label) => set.tables[label].rows).filter((one) => one !== null && one !== undefined);
      const into = () => ({
        connection: target.words(conf),
        tables: names(tables),
        schema: code(conf.schema ?? ""),
        source: set.database ? sourceOf(set) : t("restore.source_unknown"),
      });
      const only = onlyOf(conf);
      const of = only ? rowsIn(only, detail?.collections ?? set.collections ?? []) : rows.length ? rows.reduce((sum, one) => sum + one, 0) : null;
      const total = of === null ? t("restore.all_rows") : t("rows", { count: of });
      const other = target.differs(conf, set);
      return [
        will(...mixed(willKey(conf), into(), { rows: total, set: keyOf(set) })),
        only && will(...mixed("restore.collections", { collections: names(only) })),
        other && danger(...mixed("restore.other_database", into())),
        conf.truncate_before_restore
          ? danger(...mixed("restore.empties", into()))
          : will(t(`restore.conflict.${conf.on_conflict ?? "error"}`)),
        replaces(conf) && (conf.backup_before_restore ? will(t("restore.saves")) : danger(t("restore.saves_not"))),
        h("p", { class: "muted small" }, t("restore.atomic")),
      ];
    },
    confirmation: () => {
      const conf = form.conf();
      if (chosen(conf).length === 0) return null; // refused in any case, by what is missing
      if (target.differs(conf, set) || replaces(conf)) return target.name(conf, largest(conf));
      return null;
    },
    confirm: t("restore.go"),
    danger: true,
    preview: preview("restore", asked),
    opened: (update) => target.watch(form, update),
    act: async () => {
      if (chosen(form.conf()).length === 0) throw new Error(t("restore.no_table"));
      started("restore", await api.start("restore", asked()));
    },
  });
}
