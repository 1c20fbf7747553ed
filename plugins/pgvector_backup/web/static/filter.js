/** The filter above the sets and their history: by place, and by words. */

import { h } from "./dom.js";
import { count } from "./format.js";
import { t } from "./i18n.js";
import { view } from "./sets.js";

/**
 * The filter.
 *
 * @param {Array} locations of the API's list
 * @param {string[]} databases that the sets are of
 * @param {function({place?: string, words?: string})} filtered called with what the user changes
 * @param {function|false} find asks for a row to look for; false: no set could tell
 */
export function filterBar(locations, databases, filtered, find) {
  const place = h(
    "select",
    {
      id: "filter-place",
      data: { focus: "place" },
      on: { change: (event) => filtered({ place: event.target.value }) },
    },
    h("option", { value: "" }, t("place.all")),
    locations.map(option),
  );
  place.value = locations.some((one) => one.relative_path === view.place) ? view.place : "";
  const database = h(
    "select",
    {
      id: "filter-database",
      data: { focus: "database" },
      on: { change: (event) => filtered({ database: event.target.value }) },
    },
    h("option", { value: "" }, t("place.all")),
    databases.map((one) => h("option", { value: one }, one)),
  );
  database.value = databases.includes(view.database) ? view.database : "";
  const words = h("input", {
    id: "filter-words",
    type: "search",
    value: view.words,
    placeholder: t("filter.words.hint"),
    data: { focus: "words" },
    on: { input: (event) => filtered({ words: event.target.value }) },
  });
  return h(
    "div",
    { class: "filter", role: "search" },
    h("div", { class: "field" }, h("label", { for: "filter-place" }, t("filter.place")), place),
    databases.length > 1 &&
      h("div", { class: "field" }, h("label", { for: "filter-database" }, t("filter.database")), database),
    h("div", { class: "field" }, h("label", { for: "filter-words" }, t("filter.words")), words),
    find &&
      h(
        "button",
        { type: "button", class: "button", data: { focus: "find", action: "find" }, on: { click: () => find() } },
        t("action.find"),
      ),
    h("p", { class: "muted small", role: "status", data: { part: "count" } }),
  );
}

function option({ relative_path: path, type, task_id: task, backups }) {
  return h("option", { value: path }, `${type === "global" ? t("place.global") : task} (${count(backups.length)})`);
}
