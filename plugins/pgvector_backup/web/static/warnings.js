/** What needs somebody's attention, worst first, each with what to do about it. */

import { airflowLink } from "./airflow.js";
import { h, icon } from "./dom.js";
import { t } from "./i18n.js";

const GRAVE = new Set(["DAMAGED", "LAST_FAILED", "VERIFY_RUN_FAILED", "PRUNE_FAILED", "ROOT_UNREADABLE", "NO_BACKUP", "OVERDUE", "EMPTY", "VERIFY_FAILED", "COPY_FAILED", "SPACE", "POLICY_BAD"]);

/**
 * The warnings of an overview.
 *
 * @param {Array<{code: string, params: object, message: string}>} warnings
 * @param {{backUp: function?, verify: function?, open: function}} actions what the user may do; null: may not
 */
export function warningList(warnings, actions) {
  const sorted = [...warnings].sort((one, other) => GRAVE.has(other.code) - GRAVE.has(one.code));
  return sorted.map((warning) =>
    h(
      "li",
      { class: `warning ${GRAVE.has(warning.code) ? "grave" : "mild"}${named(warning) ? " named" : ""}`, data: { code: warning.code } },
      icon(warning.code === "PAUSED" ? "info" : "warning"),
      h("p", {}, warning.message),
      remedy(warning, actions),
    ),
  );
}

/** Whether its sentence begins with a name, which keeps its own small letter. */
const named = ({ code, params }) =>
  params.database !== undefined || (params.streak > 1 ? code === "LAST_FAILED" : params.of !== undefined);

function remedy({ code, params }, { backUp, verify, open }) {
  const button = (words, act) =>
    act &&
    h(
      "button",
      { type: "button", class: "button small", data: { focus: `remedy-${code}` }, on: { click: act } },
      words,
    );
  switch (code) {
    case "NO_BACKUP":
    case "OVERDUE":
      return button(t("action.backup"), backUp);
    case "UNVERIFIED":
      return button(t("action.verify"), verify && (() => verify(params)));
    case "EMPTY":
    case "ROWS_FELL":
    case "VERIFY_FAILED":
    case "DAMAGED":
      return params.timestamp && button(t("action.show"), () => open(params.relative_path, params.timestamp));
    case "LAST_FAILED":
    case "VERIFY_RUN_FAILED":
    case "PRUNE_FAILED":
      return (
        params.run_id &&
        airflowLink(`dags/pgvector_${params.kind ?? "backup"}/runs/${encodeURIComponent(params.run_id)}`, t("run.open"))
      );
    case "PAUSED":
      return airflowLink("dags/pgvector_backup", t("warning.open_dag"));
    default:
      return null;
  }
}
