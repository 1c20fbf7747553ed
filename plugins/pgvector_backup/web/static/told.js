/** Sentences of dialogs: what will happen, with names as code. */

import { h, icon } from "./dom.js";
import { t } from "./i18n.js";

export const code = (text) => h("code", {}, text);
export const names = (labels) => labels.flatMap((label, index) => (index ? [", ", code(label)] : [code(label)]));
export const will = (...content) => h("p", { class: "will" }, icon("info"), h("span", {}, ...content));
export const danger = (...content) => h("p", { class: "will danger" }, icon("warning"), h("span", {}, ...content));

/** Words with `{name}` places for nodes, e.g. a table's name as code. */
export function mixed(key, nodes, params = {}) {
  return t(key, params)
    .split(/\{(\w+)\}/)
    .flatMap((part, index) => (index % 2 ? (nodes[part] ?? `{${part}}`) : part));
}
