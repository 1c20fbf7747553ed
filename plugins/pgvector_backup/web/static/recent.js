/** The runs that ended last, of all kinds: one line each. */

import { h } from "./dom.js";
import { duration, relative, time } from "./format.js";
import { t } from "./i18n.js";
import { runLink, stateBadge } from "./run.js";

/** @param {Array} runs the newest first */
export function recentRuns(runs) {
  if (runs.length === 0) return null;
  return h(
    "details",
    { class: "fold recent" },
    h("summary", { data: { focus: "recent" } }, t("recent.title", { count: runs.length })),
    h("ul", { class: "recent-runs" }, runs.map(line)),
  );
}

function line(run) {
  const { asked = {} } = run;
  const what = [asked.db_connection, asked.backup_path ?? asked.task_id, asked.timestamp].filter(Boolean).join(" · ");
  const ended = run.end_date ?? run.start_date ?? run.queued_at;
  return h(
    "li",
    { data: { run: run.run_id } },
    stateBadge(run),
    h("span", {}, t(`kind.${run.kind}`), run.asked?.dry_run === true && ` · ${t("kind.preview")}`),
    what && h("code", {}, what),
    h("span", { class: "muted small" }, time(ended, relative(ended))),
    run.duration !== null && h("span", { class: "muted small" }, duration(run.duration)),
    run.error && !run.cancelled && h("span", { class: "small bad-text clamp" }, run.error.response),
    runLink(run),
  );
}
