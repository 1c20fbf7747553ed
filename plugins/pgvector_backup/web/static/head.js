/** The head of the page: its name, and what can be done about no set in particular. */

import { announce, h, icon } from "./dom.js";
import { t } from "./i18n.js";

/**
 * The head.
 *
 * @param {object} may `backup` and `verify`: functions, or the reason (a string) why not
 * @param {boolean} loaded whether that is known yet
 */
export function head(may, loaded) {
  const why = loaded && typeof may.backup === "string" ? may.backup : null;
  const button = (name, picture, words, kind) =>
    actionButton(name, may[name], loaded, `button ${kind}`, icon(picture), words);
  return h(
    "header",
    { class: "page-head" },
    h("h1", {}, t("title")),
    h(
      "div",
      { class: "toolbar" },
      why && h("span", { class: "muted small" }, why),
      button("verify", "shield", t("action.verify_newest"), ""),
      button("backup", "plus", t("action.backup"), "primary"),
    ),
  );
}

function actionButton(name, act, loaded, look, ...content) {
  const why = typeof act === "string" ? act : null;
  return h(
    "button",
    {
      type: "button",
      class: look,
      "aria-disabled": why || !loaded ? "true" : null,
      title: loaded ? why : null,
      data: { focus: `head-${name}`, action: name },
      on: { click: () => loaded && (why ? announce(why) : act()) },
    },
    content,
  );
}
