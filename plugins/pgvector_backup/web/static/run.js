/** Runs: what goes on now, with its progress, and how those that the user has watched came to an end. */

import { airflowLink } from "./airflow.js";
import { h, icon } from "./dom.js";
import { count, duration, percent, size, speed, time, relative } from "./format.js";
import { t } from "./i18n.js";

/** A run's state as a badge. */
export function stateBadge(run) {
  const state = run.cancelled ? "cancelled" : run.cancelling ? "cancelling" : run.state;
  return h("span", { class: `badge ${state}` }, t(`state.${state}`));
}

/** The link to a run in Airflow. */
export function runLink(run, words = t("run.open")) {
  return airflowLink(run.url ?? run.run_url, words);
}

/**
 * What is running, one card a run.
 *
 * @param {Array} runs
 * @param {{canCancel: boolean, cancel: function, places: {connection: string, root: string}}} actions `places`: where
 *   a run goes that names nothing itself
 */
export function runningCards(runs, { canCancel, cancel, places }) {
  return runs.map((run) => {
    const shown = run.progress;
    const share = shown?.share ?? null;
    const title = `running-${run.run_id}`;
    return h(
      "article",
      { class: "card running-card", "aria-labelledby": title, data: { run: run.run_id } },
      h(
        "header",
        { class: "card-head" },
        h("h3", { id: title }, titleOf(run)),
        stateBadge(run),
        canCancel && !run.cancelling && cancelButton(run, cancel),
      ),
      h("p", { class: "route" }, route(run, places)),
      h("progress", { class: "bar", max: 1, "aria-labelledby": title, ...(share === null ? {} : { value: share }) }),
      h("p", { class: "figures" }, figures(run)),
      tables(shown),
      h("p", { class: "muted small" }, origin(run)),
    );
  });
}

/** Whether a run is only to tell what would be done; a prune says so by itself. */
const isPreview = (run) => run.asked?.dry_run === true && run.kind !== "prune";

const titleOf = (run) =>
  isPreview(run) ? t(`preview.${run.kind}.running`) : t(`run.${run.kind}.${run.state === "queued" ? "queued" : "running"}`);

/** What a run is about: from where to where. */
function route(run, { connection, root }) {
  const { asked = {} } = run;
  const database = h("code", {}, asked.db_connection ?? connection);
  const set = [asked.backup_path ?? asked.task_id, asked.timestamp].filter(Boolean).join("/");
  const arrow = h("span", { role: "img", "aria-label": t("run.to") }, " → ");
  const tables = asked.tables?.length ? ` (${asked.tables.join(", ")})` : "";
  if (run.kind === "backup")
    return [database, arrow, h("code", {}, [root, asked.task_id].filter(Boolean).join("/") || t("place.global"))];
  if (run.kind === "restore") return [h("code", {}, set), tables, arrow, database];
  if (run.kind === "prune" || (run.kind === "copy" && asked.all)) return set ? h("code", {}, set) : t("run.every_location");
  return set ? h("code", {}, set) : t("run.newest_sets");
}

function cancelButton(run, cancel) {
  return h(
    "button",
    {
      type: "button",
      class: "button small",
      data: { focus: `cancel-${run.run_id}` },
      on: { click: () => cancel(run) },
    },
    icon("cross"),
    t("action.cancel"),
  );
}

/** The figures of a run's progress as one line of text pieces. */
function figures(run) {
  const shown = run.progress;
  if (!shown)
    return h(
      "span",
      { class: "muted" },
      t(`progress.${run.state === "queued" ? "queued" : isFinishing(run) ? "finishing" : "starting"}`),
    );
  const pieces = [
    shown.share !== null && h("strong", {}, percent(shown.share)),
    shown.expected_rows
      ? t("progress.rows_of", { count: shown.rows, of: count(shown.expected_rows) })
      : t("rows", { count: shown.rows }),
    shown.expected_bytes
      ? t("progress.bytes_of", { size: size(shown.bytes), of: size(shown.expected_bytes) })
      : size(shown.bytes),
    shown.bytes_per_second ? speed(shown.bytes_per_second) : null,
    shown.seconds_left !== null && shown.seconds_left !== undefined
      ? t("progress.left", { time: duration(shown.seconds_left) })
      : null,
  ];
  return pieces.filter(Boolean).map((piece) => h("span", {}, piece));
}

/** Whether the work is done and what is left is to tell of it. */
const isFinishing = (run) => run.steps?.[run.kind] === "success";

function tables(shown) {
  const entries = Object.entries(shown?.tables ?? {});
  if (entries.length < 2) return null;
  return h(
    "ul",
    { class: "table-progress" },
    entries.map(([label, table]) =>
      h(
        "li",
        {},
        h("code", {}, label),
        table.share === null || table.share === undefined
          ? h("span")
          : h("progress", { class: "bar thin", max: 1, "aria-label": label, value: table.share }),
        h("span", {}, t("rows", { count: table.rows })),
      ),
    ),
  );
}

function origin(run) {
  const since = run.start_date ?? run.queued_at;
  return [
    since && h("span", {}, t(run.start_date ? "run.started" : "run.queued"), " ", time(since, relative(since))),
    run.triggered_by && h("span", {}, t("run.by", { who: run.triggered_by })),
    runLink(run),
  ]
    .filter(Boolean)
    .flatMap((piece, index) => (index ? [" · ", piece] : [piece]));
}

/** How a run ended, in one sentence or two: `{good, title, text}`. */
export function outcome(run) {
  if (isPreview(run) && !run.cancelled)
    return {
      good: run.state === "success",
      title: t(`preview.${run.kind}.done`),
      text: run.error?.response ?? run.result?.response ?? "",
    };
  if (run.cancelled) return { good: true, mild: true, title: t(`run.${run.kind}.cancelled`), text: t("run.cancelled.text") };
  if (run.state !== "success") {
    const why = run.error?.response ?? t("run.failed.text");
    const unchanged = run.kind === "restore" && !run.result?.restore_performed ? ` ${t("run.restore.unchanged")}` : "";
    return { good: false, title: t(`run.${run.kind}.failed`), text: `${why}${unchanged}` };
  }
  return { good: true, title: t(`run.${run.kind}.success`), text: summary(run.kind, run.result) };
}

function summary(kind, result) {
  if (!result) return "";
  if (kind === "backup") {
    const tables_ = Object.values(result.tables_backed_up ?? {});
    if (!result.backup_performed) return result.response ?? "";
    const total = (name) => tables_.reduce((sum, table) => sum + (table[name] ?? 0), 0);
    const emptied = Object.entries(result.truncate_results ?? {}).map(([label, table]) =>
      t("summary.truncated", { table: label, count: table.rows_before ?? 0 }),
    );
    return [
      t("summary.backup", { count: total("row_count"), size: size(total("bytes")), time: duration(result.duration) }),
      ...emptied,
      ...(result.notes ?? []),
    ].join(" ");
  }
  if (kind === "restore") {
    const restored = Object.entries(result.restore_results ?? {});
    const rows = restored.reduce((sum, [, table]) => sum + (table.rows_restored ?? 0), 0);
    const skipped = restored.reduce((sum, [, table]) => sum + (table.rows_skipped ?? 0), 0);
    const into = result.target_database?.database;
    return [
      t("summary.restore", {
        count: rows,
        tables: restored.map(([label]) => label).join(", "),
        time: duration(result.duration),
      }),
      skipped > 0 && t("summary.skipped", { count: skipped }),
      into && t("summary.into", { database: into }),
      result.safety_backup && t("summary.saved", { set: result.safety_backup.timestamp, place: result.safety_backup.backup_path }),
      ...(result.notes ?? []),
      ...restored.flatMap(([, table]) => table.notes ?? []),
    ]
      .filter(Boolean)
      .join(" ");
  }
  if (kind === "prune") {
    const of = (name) => (result.locations ?? []).flatMap((one) => one[name] ?? []);
    const retained = of("kept").filter((one) => one.retained);
    return [
      result.response,
      t(result.dry_run ? "summary.prune.plan" : "summary.prune", { count: of("removed").length, size: size(result.bytes_freed) }),
      retained.length > 0 && t("summary.retained", { count: retained.length, why: retained[0].retained }),
    ]
      .filter(Boolean)
      .join(" ");
  }
  if (kind === "copy") {
    const copies = result.copies ?? [];
    const brought = copies.filter((one) => one.success && one.files_copied > 0);
    return [
      t("summary.copy", { count: brought.length, size: size(brought.reduce((sum, one) => sum + one.bytes_copied, 0)) }),
      t("summary.copy.whole", { count: copies.filter((one) => one.success && !one.files_copied).length }),
      ...(result.notes ?? []),
    ].join(" ");
  }
  const verified = (result.sets ?? []).map((set) => `${set.backup_path}/${set.timestamp}`);
  if (!verified.length) return result.response ?? "";
  return [
    t("summary.verify", { count: verified.length, depth: t(`depth.${result.depth}`), sets: verified.join(", ") }),
    ...(result.notes ?? []),
  ].join(" ");
}

/** One ended run as a notice that stays until it is dismissed. */
export function noticeCard(run, dismiss) {
  const { good, mild, title, text } = outcome(run);
  return h(
    "article",
    { class: `notice ${mild ? "mild" : good ? "good" : "bad"}`, data: { notice: run.run_id } },
    icon(mild ? "info" : good ? "check" : "warning"),
    h("div", {}, h("strong", {}, title), text && h("p", {}, text), h("p", { class: "small" }, runLink(run))),
    h(
      "button",
      {
        type: "button",
        class: "button icon-only",
        "aria-label": t("action.dismiss"),
        title: t("action.dismiss"),
        on: { click: dismiss },
      },
      icon("cross"),
    ),
  );
}
