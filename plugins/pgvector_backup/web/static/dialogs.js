/** What a user can do, each behind a dialog that says what will happen and to what. */

import * as api from "./api.js";
import { ask } from "./dialog.js";
import { h, icon } from "./dom.js";
import { preview } from "./preview.js";
import { Target } from "./target.js";
import { code, danger, mixed, names, will } from "./told.js";
import { count, size } from "./format.js";
import { fieldsFor } from "./fields.js";
import { t } from "./i18n.js";
import { policyInWords } from "./retention.js";
import { copiesOf, keyOf, placeName } from "./set.js";

/** Back up now. */
export function askBackup({ overview, started, values }) {
  const form = fieldsFor(overview.backup_keys, "backup", {
    skip: ["dry_run"],
    values,
    suggestions: { db_connection: overview.connections?.known },
  });
  const target = new Target("backup", overview);
  const empties = (conf) => conf.truncate_vector_tables === true;
  const emptied = overview.truncate_tables ?? [];
  ask({
    title: t("backup.title"),
    content: form.nodes,
    consequence: () => {
      const conf = form.conf();
      if (conf.backup_vector_tables === false && !empties(conf)) return will(t("backup.nothing"));
      return [
        will(
          ...mixed("backup.will", {
            tables: names(overview.tables ?? []),
            connection: target.words(conf),
            place: conf.task_id ? code(conf.task_id) : t("place.global"),
          }),
        ),
        empties(conf) && danger(...mixed("backup.empties", { tables: names(emptied), connection: target.words(conf) })),
      ];
    },
    confirmation: () => (empties(form.conf()) ? target.name(form.conf(), emptied[0] ?? null) : null),
    confirm: t("backup.go"),
    preview: preview("backup", () => form.conf()),
    opened: (update) => target.watch(form, update),
    act: async () => started("backup", await api.start("backup", form.conf())),
  });
}

/** Verify one set, or the newest of every location. */
export function askVerify({ overview, set, started }) {
  const form = fieldsFor(overview.verify_keys, "verify", {
    skip: ["backup_path", "task_id", "timestamp"],
    suggestions: { db_connection: overview.connections?.known, from_copy: copiesOf(set) },
  });
  const where = form.nodes.find((node) => node.dataset.key === "db_connection");
  const conf = () => {
    const { depth, db_connection, from_copy } = form.values();
    return {
      ...(set && { backup_path: set.relative_path, timestamp: set.timestamp }),
      depth, // always: an installation may have another default
      ...(from_copy && { from_copy }),
      ...(depth === "drill" && db_connection && { db_connection }),
    };
  };
  ask({
    title: set ? t("verify.title.set", { set: set.timestamp }) : t("verify.title"),
    content: form.nodes,
    consequence: () => {
      const { depth } = form.values();
      where.hidden = depth !== "drill"; // no other depth has need of a server
      const what = set ? mixed("verify.will.set", { set: code(keyOf(set)) }) : [t("verify.will.newest")];
      return will(...what, " ", t(`verify.will.${depth}`));
    },
    confirm: t("verify.go"),
    act: async () => started("verify", await api.start("verify", conf())),
  });
}

/** Bring a set, or all of its place, to the other roots, or back from one: what is lost or damaged there is made again. */
export function askCopies({ overview, set, detail, started }) {
  const form = fieldsFor(overview.copy_keys, "copy", {
    skip: ["backup_path", "task_id", "timestamp"],
    suggestions: { from_copy: copiesOf(detail) },
  });
  const roots = detail.copies.map((one) => one.root);
  const conf = () => {
    const given = form.conf();
    return { backup_path: set.relative_path, ...(!given.all && { timestamp: set.timestamp }), ...given };
  };
  ask({
    title: t("copies.title", { set: set.timestamp }),
    content: form.nodes,
    consequence: () => {
      const { all, from_copy: from } = conf();
      const what = all ? code(set.relative_path) : code(keyOf(set));
      const others = from ? [overview.storage?.backup_root, ...roots.filter((one) => one !== from)] : roots;
      const words = `copies.will${all ? ".all" : ""}${from ? ".from" : ""}`;
      return will(...mixed(words, { set: what, from: code(from ?? ""), roots: names(others.filter(Boolean)) }), " ", t("copies.whole"));
    },
    confirm: t("copies.go"),
    act: async () => started("copy", await api.start("copy", conf())),
  });
}

/** Download the files of a set. */
export function askDownload({ set, detail }) {
  const files = Object.values(detail.tables).flatMap((table) => [
    { file: table.file, size: size(table.bytes), sha256: table.sha256 },
    ...(table.index ? [{ file: table.index }] : []),
  ]);
  if (detail.schema_file) files.push({ file: detail.schema_file });
  if (set.manifest_file) files.push({ file: set.manifest_file });
  if (set.log_file) files.push({ file: set.log_file });
  if (set.manifest_file) files.unshift({ file: `set_${set.timestamp}.tar` });
  ask({
    title: t("download.title", { set: set.timestamp }),
    content: [
      will(t("download.will")),
      h(
        "ul",
        { class: "files" },
        files.map(({ file, size: bytes, sha256 }) =>
          h(
            "li",
            {},
            h("a", { href: api.fileUrl(set.relative_path, file), download: file }, icon("save"), code(file)),
            bytes && h("span", { class: "muted small" }, bytes),
            sha256 && h("span", { class: "muted small hash" }, `sha256 ${sha256}`),
          ),
        ),
      ),
    ],
  });
}

/** Delete a set. */
export function askDelete({ overview, set, deleted }) {
  const newest = overview.newest_good && keyOf(overview.newest_good) === keyOf(set);
  ask({
    title: t("delete.title", { set: set.timestamp }),
    content: [
      danger(
        ...mixed(
          "delete.will",
          { set: code(keyOf(set)) },
          { size: size(set.bytes), rows: count(set.rows), place: placeName(set) },
        ),
      ),
      newest && danger(t("delete.newest")),
    ].filter(Boolean),
    confirmation: () => (newest ? set.timestamp : null),
    confirm: t("delete.go"),
    danger: true,
    act: async () => deleted(set, await api.remove(set)),
  });
}

/** Delete several sets, one after the other; what fails stays, and stops the rest. */
export function askDeleteMany({ overview, sets, deleted }) {
  const newest = overview.newest_good && sets.find((set) => keyOf(set) === keyOf(overview.newest_good));
  const total = sets.reduce((sum, set) => sum + (set.bytes ?? 0), 0);
  ask({
    title: t("delete.many.title", { count: sets.length }),
    content: [
      danger(t("delete.many.will", { count: sets.length, size: size(total) })),
      h(
        "ul",
        { class: "files" },
        sets.map((set) => h("li", {}, code(keyOf(set)), set.database && h("span", { class: "muted" }, set.database))),
      ),
      newest && danger(t("delete.newest")),
    ].filter(Boolean),
    confirmation: () => t("delete.many.word", { count: sets.length }),
    confirm: t("delete.go"),
    danger: true,
    act: async () => {
      for (const set of sets) deleted(set, await api.remove(set));
    },
  });
}

/** Remove what the policy lets go; a rehearsal unless the user says otherwise. */
export function askPrune({ overview, plan, path, started }) {
  const form = fieldsFor(overview.prune_keys, "prune", {
    skip: ["backup_path", "task_id"],
    values: { dry_run: true },
  });
  const place = plan.locations[0];
  const going = (place?.sets ?? []).filter((set) => !set.keep);
  const total = going.reduce((sum, set) => sum + set.bytes, 0);
  const waits = (conf) => place?.drastic && !conf.force;
  ask({
    title: t("prune.title"),
    content: [will(policyInWords(plan.policy)), ...form.nodes],
    consequence: () => {
      const conf = form.conf();
      if (going.length === 0) return will(...mixed("prune.nothing", { place: code(path) }));
      if (conf.dry_run) return will(...mixed("prune.rehearses", { place: code(path) }, { count: going.length, size: size(total) }));
      return [
        danger(...mixed("prune.will", { place: code(path) }, { count: going.length, size: size(total) })),
        waits(conf) && will(t("retention.drastic")),
      ];
    },
    confirmation: () => (form.conf().dry_run || going.length === 0 ? null : t("delete.many.word", { count: going.length })),
    confirm: t("prune.go"),
    danger: true,
    act: async () => started("prune", await api.start("prune", { backup_path: path, ...form.conf() })),
  });
}

/** Hold a set, whatever the policy says. */
export function askPin({ set, done }) {
  const reason = h("input", { id: "pin-reason", type: "text", maxlength: 1000, value: set.pin?.reason ?? "", autocomplete: "off" });
  const until = h("input", { id: "pin-until", type: "date", value: set.pin?.until?.slice(0, 10) ?? "" });
  const field = (name, control) =>
    h("div", { class: "field" }, h("label", { for: `pin-${name}` }, t(`pin.${name}`)), control, h("p", { class: "help" }, t(`pin.${name}.help`)));
  ask({
    title: t("pin.title", { set: set.timestamp }),
    content: [field("reason", reason), field("last_day", Object.assign(until, { id: "pin-last_day" }))],
    consequence: () => will(...mixed("pin.will", { set: code(keyOf(set)) })),
    confirm: t("pin.go"),
    act: async () => {
      if (!reason.value.trim()) throw new Error(t("pin.no_reason"));
      await api.pin(set, { reason: reason.value.trim(), until: until.value || null });
      await done(t("pin.done", { set: set.timestamp }));
    },
  });
}

/** Let the policy decide on a set again. */
export function askUnpin({ set, done }) {
  ask({
    title: t("unpin.title", { set: set.timestamp }),
    content: [will(...mixed("unpin.will", { set: code(keyOf(set)) }, { who: set.pin.by, reason: set.pin.reason }))],
    confirm: t("unpin.go"),
    act: async () => {
      await api.unpin(set);
      await done(t("unpin.done", { set: set.timestamp }));
    },
  });
}

/** Cancel a run. */
export function askCancel({ run, cancelled }) {
  ask({
    title: t("cancel.title"),
    content: [will(t(`cancel.will.${run.kind}`)), h("p", { class: "muted small" }, code(run.run_id))],
    confirm: t("cancel.go"),
    backOut: t("cancel.back_out"),
    danger: true,
    act: async () => cancelled(run, await api.cancel(run.kind, run.run_id)),
  });
}
