/** Form fields for the keys of a conf, made from the schemas that the API gives. */

import { coded, h } from "./dom.js";
import { known, t } from "./i18n.js";

let number = 0;

/** The words of a key: the page's own where the language has some, else the API's. */
function words(key, part, kind) {
  const own = [`key.${kind}.${key.name}.${part}`, `key.${key.name}.${part}`].find(known);
  return own ? t(own) : key[part];
}

/**
 * The fields of some keys.
 *
 * @param {Array} keys of the API's overview
 * @param {string} kind of the run: the same key may mean something else to another kind
 * @param {{skip?: string[], values?: object, choices?: object, suggestions?: object}} options `choices`: the values of an
 *   array to tick, or `{value, note}` of each; all ticked at first, or with `{pick: [...]}` none, which means all; `suggestions`: values offered for a text
 * @returns {{nodes: Node[], values: function(): object, conf: function(): object}} `values` has every key, `conf` what
 *   differs from the default
 */
export function fieldsFor(keys, kind, { skip = [], values = {}, choices = {}, suggestions = {} } = {}) {
  const fields = keys
    .filter((key) => !skip.includes(key.name))
    .map((key) => ({ ...key, title: words(key, "title", kind), description: words(key, "description", kind) }))
    .map((key) => ({ key, ...field(key, values[key.name] ?? key.default, choices[key.name], suggestions[key.name]) }));
  return {
    nodes: fields.map(({ node }) => node),
    values: () => Object.fromEntries(fields.map(({ key, read }) => [key.name, read()])),
    conf: () => {
      const conf = {};
      for (const { key, read } of fields) {
        const value = read();
        if (JSON.stringify(value) !== JSON.stringify(key.default)) conf[key.name] = value;
      }
      return conf;
    },
  };
}

function field(key, value, choices, suggestions) {
  const id = `field-${(number += 1)}-${key.name}`;
  const help = h("p", { class: "help", id: `${id}-help` }, coded(key.description));
  const props = { id, name: key.name, "aria-describedby": `${id}-help` };
  const types = [key.schema.type].flat();
  const labelled = (control, ...more) =>
    h("div", { class: "field", data: { key: key.name } }, h("label", { for: id }, key.title), control, ...more, help);

  if (types.includes("boolean")) {
    const input = h("input", { ...props, type: "checkbox", checked: value === true });
    const node = h(
      "div",
      { class: "field check", data: { key: key.name } },
      h("label", { for: id }, input, h("span", {}, key.title)),
      help,
    );
    return { node, read: () => input.checked };
  }
  if (types.includes("array") && choices) return ticked(key, choices);
  if (types.includes("array")) {
    const input = h("textarea", { ...props, rows: 2, value: (value ?? []).join("\n"), placeholder: t("field.lines") });
    return { node: labelled(input), read: () => lines(input.value) };
  }
  if (types.includes("object")) return pairs(key, props, labelled, suggestions ?? []);
  if (key.schema.enum) {
    // What is not said has no value of its own: null, which a select can only tell as the empty text.
    const options = key.schema.enum.map((one) => {
      const word = `choice.${one ?? "as_configured"}`;
      return h("option", { value: one ?? "" }, known(word) ? t(word) : one);
    });
    const input = h("select", props, options);
    input.value = value ?? "";
    return { node: labelled(input), read: () => (input.value === "" ? null : input.value) };
  }
  if (types.includes("integer")) {
    const input = h("input", { ...props, type: "number", step: 1, inputmode: "numeric", value: value ?? "" });
    return { node: labelled(input), read: () => (input.value === "" ? key.default : Number(input.value)) };
  }
  const list = suggestions?.length
    ? h(
        "datalist",
        { id: `${id}-list` },
        suggestions.map((one) => h("option", { value: one })),
      )
    : null;
  const input = h("input", {
    ...props,
    type: "text",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
    maxlength: key.schema.maxLength ?? null,
    value: value ?? "",
    list: list && `${id}-list`,
  });
  return { node: labelled(input, list), read: () => (input.value.trim() === "" ? null : input.value.trim()) };
}

const lines = (text) => {
  const all = text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  return all.length ? all : null;
};

/** Boxes to tick. All of them is the same as the default, no restriction; of those to be picked, none is. */
function ticked(key, choices) {
  const pick = choices.pick !== undefined;
  const entries = (choices.pick ?? choices).map((one) => (typeof one === "string" ? { value: one } : one));
  const boxes = entries.map(({ value }) => h("input", { type: "checkbox", name: key.name, value, checked: !pick }));
  const node = h(
    "fieldset",
    { class: "field ticks", data: { key: key.name } },
    h("legend", {}, key.title),
    h(
      "div",
      { class: "choices" },
      boxes.map((box, index) =>
        h(
          "label",
          { class: "choice" },
          box,
          h("code", {}, box.value),
          entries[index].note && h("span", { class: "muted small" }, entries[index].note),
        ),
      ),
    ),
    pick && h("p", { class: "help" }, coded(key.description)),
  );
  const read = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return chosen.length === (pick ? 0 : boxes.length) ? null : chosen;
  };
  return { node, read };
}

/** From old names to new ones, a row a pair; a new empty row appears as soon as the last one is used. */
function pairs(key, props, labelled, suggestions) {
  const rows = h("div", { class: "pairs" });
  const list =
    suggestions.length > 0 &&
    h(
      "datalist",
      { id: `${props.id}-list` },
      suggestions.map((one) => h("option", { value: one })),
    );
  const add = (first) => {
    const input = (which, more) =>
      h("input", {
        type: "text",
        autocomplete: "off",
        "aria-label": t(`field.${which}`),
        placeholder: t(`field.${which}`),
        ...more,
      });
    rows.append(
      h(
        "div",
        { class: "pair" },
        input("old", { ...(first && props), ...(list && { list: `${props.id}-list` }) }),
        h("span", { "aria-hidden": "true" }, "→"),
        input("new", {}),
      ),
    );
  };
  add(true);
  rows.addEventListener(
    "input",
    () => [...rows.lastElementChild.querySelectorAll("input")].some((one) => one.value) && add(false),
  );
  const read = () => {
    const entries = [...rows.children]
      .map((row) => [...row.querySelectorAll("input")].map((one) => one.value.trim()))
      .filter(([from, to]) => from || to);
    return entries.length ? Object.fromEntries(entries) : null;
  };
  return { node: labelled(rows, list), read };
}
