/** What keeps the page from showing how things stand, and what the user can do about it. */

import { openAirflow } from "./airflow.js";
import { h, icon } from "./dom.js";
import { t } from "./i18n.js";

/**
 * The problem.
 *
 * @param {ApiError} fault
 * @param {function} again asks the API once more
 */
export function problem(fault, again) {
  const button = (words, act) =>
    h("button", { type: "button", class: "button small", data: { focus: "again" }, on: { click: () => act() } }, words);
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    icon("warning"),
    h("div", {}, h("strong", {}, fault.message), fault.response && h("p", {}, fault.response)),
    fault.status === 401
      ? button(t("action.login"), () => openAirflow("auth/login"))
      : button(t("action.again"), again),
  );
}
