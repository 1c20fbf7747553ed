/** One set from the inside: where it is from, its tables with columns and checksums, its verification, its log. */

import { fileUrl } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { count, duration, relative, size, speed } from "./format.js";
import { t } from "./i18n.js";
import { fateOf, pinOf } from "./retention.js";
import { chainOf, hasKeys, throughput, usable, whenOf } from "./set.js";

/**
 * What an open set shows.
 *
 * @param {object} set as of the list
 * @param {object|Error|undefined} told what the API told of it; undefined: not yet
 * @param {object} actions verify, restore, download, copies, pin, unpin, remove: functions, or the reason (a string) why not
 * @param {{planned: object?, open: function, sets: Array}} around what the policy says of its location; shows a set by
 *   location and id; the sets of its location
 */
export function setDetail(set, told, actions, { planned, open, sets }) {
  if (told === undefined) return h("p", { class: "muted loading" }, t("loading"));
  if (told instanceof Error) {
    return h(
      "div",
      { class: "notice bad", role: "alert" },
      icon("warning"),
      h("div", {}, h("strong", {}, told.message), told.response && h("p", {}, told.response)),
    );
  }
  return h(
    "div",
    { class: "set-detail" },
    buttons(set, told, actions),
    pinOf(set),
    fateOf(set, planned),
    (set.damaged || set.verified?.ok === false) &&
      h(
        "p",
        { class: "notice bad" },
        icon("warning"),
        h("span", {}, h("strong", {}, t("set.damaged")), " ", set.damaged ?? set.fault ?? ""),
      ),
    Object.entries(told.failed_tables ?? {}).map(([label, why]) =>
      h("p", { class: "notice bad" }, icon("warning"), h("span", {}, h("code", {}, label), ": ", why)),
    ),
    !set.manifest_file && h("p", { class: "notice mild" }, icon("info"), h("span", {}, t("set.foreign.text"))),
    facts(told),
    chain(set, sets, open),
    collections(told.collections),
    Object.entries(told.tables ?? {}).map(([label, table]) => tablePart(told, label, table)),
    verification(told.verification),
    log(told.log_section),
  );
}

function buttons(set, told, actions) {
  const button = (name, picture, kind = "") => {
    const act = actions[name];
    const why =
      typeof act === "string"
        ? act
        : ["restore", "verify"].includes(name) && !usable(set)
          ? t("set.unusable")
          : null;
    return h(
      "button",
      {
        type: "button",
        class: `button ${kind}`,
        "aria-disabled": why ? "true" : null,
        title: why,
        data: { focus: `${name}-${set.relative_path}/${set.timestamp}`, action: name },
        on: { click: () => (why ? announce(why) : act(set, told)) },
      },
      icon(picture),
      t(`action.${name}`),
    );
  };
  const shown = Object.entries(actions).filter(([name]) => name !== "copies" || told.copies?.length > 0);
  const reasons = [...new Set(shown.map(([, act]) => act).filter((act) => typeof act === "string"))];
  return h(
    "div",
    { class: "toolbar" },
    button("restore", "back"),
    button("verify", "shield"),
    button("download", "save"),
    hasKeys(set) && button("compare", "compare"),
    told.copies?.length > 0 && button("copies", "copy"),
    set.pin ? button("unpin", "pin") : button("pin", "pin"),
    button("remove", "bin", "danger"),
    reasons.length > 0 && h("p", { class: "muted small reasons" }, reasons.join(" ")),
  );
}

function list(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function facts(set) {
  const { source } = set;
  return list([
    [t("fact.id"), h("code", {}, set.timestamp)],
    [t("fact.directory"), h("code", {}, set.relative_path)],
    [t("fact.made"), whenOf(set)],
    [t("fact.database"), source?.database],
    [
      t("fact.server"),
      source && [
        `PostgreSQL ${source.server_version}`,
        source.pgvector_version && ` · pgvector ${source.pgvector_version}`,
      ],
    ],
    [t("fact.system"), source?.system_identifier && h("code", {}, String(source.system_identifier))],
    [
      t("fact.copies"),
      set.copies?.length
        ? set.copies.map((copy) =>
            h(
              "span",
              { class: "copy", title: copy.problem, data: { state: copy.state } },
              h("code", {}, copy.root),
              `: ${t(`copy.${copy.state}`)} `,
            ),
          )
        : null,
    ],
    [t("fact.full_because"), set.full_because],
    [t("fact.run"), set.run_id && h("code", {}, set.run_id)],
  ]);
}

/** The sets that are read for an increment, each with what it added. */
function chain(set, sets, open) {
  const links = chainOf(set, sets);
  if (links.length === 0) return null;
  return h(
    "details",
    { class: "fold", open: true, data: { fold: "chain" } },
    h("summary", {}, t("chain.title", { count: links.length })),
    h(
      "ol",
      { class: "chain-list" },
      links.map(([id, there]) =>
        h(
          "li",
          {},
          id === set.timestamp
            ? h("strong", {}, h("code", {}, id))
            : there
              ? h(
                  "button",
                  {
                    type: "button",
                    class: "link",
                    data: { focus: `chain-${set.timestamp}-${id}` },
                    on: { click: () => open(there.relative_path, there.timestamp) },
                  },
                  h("code", {}, id),
                )
              : [h("code", {}, id), " ", h("span", { class: "badge failed" }, t("copy.missing"))],
          there && [
            " ",
            h(
              "span",
              { class: "muted small" },
              [t(there.mode === "full" ? "chain.full" : "chain.written"), writtenOf(there), size(there.bytes)].join(" · "),
            ),
          ],
        ),
      ),
    ),
  );
}

const writtenOf = (set) =>
  t("rows", { count: Object.values(set.tables).reduce((sum, table) => sum + (table.rows_written ?? 0), 0) });

/** LangChain's collections as they were, each with its rows. */
function collections(listed) {
  if (!listed?.length) return null;
  return h(
    "details",
    { class: "fold", open: listed.length <= 12, data: { fold: "collections" } },
    h("summary", {}, t("collections.title", { count: listed.length })),
    h(
      "ul",
      { class: "collections" },
      listed.map((one) =>
        h("li", { title: one.uuid }, h("code", {}, one.name), " ", h("span", { class: "muted small" }, t("rows", { count: one.rows }))),
      ),
    ),
  );
}

function tablePart(set, label, table) {
  const columns = table.columns ?? [];
  return h(
    "section",
    { class: "table-part", data: { table: label } },
    h("h3", {}, h("code", {}, label)),
    h(
      "p",
      { class: "figures" },
      [
        t("rows", { count: table.rows ?? 0 }),
        set.mode === "incremental" && t("table.written", { written: count(table.rows_written), deleted: count(table.rows_deleted) }),
        size(table.bytes),
        table.duration ? `${duration(table.duration)} · ${speed(throughput(table))}` : null,
        table.compression && table.compression !== "none"
          ? t("table.compressed", { name: table.compression, size: size(table.raw_bytes) })
          : null,
      ]
        .filter(Boolean)
        .map((piece) => h("span", {}, piece)),
    ),
    list([
      [t("fact.file"), fileLink(set.relative_path, table.file)],
      ["SHA-256", table.sha256 && checksum(table.sha256)],
      [t("fact.fingerprint"), table.fingerprint && checksum(table.fingerprint)],
      [t("fact.primary_key"), table.primary_key?.length ? h("code", {}, table.primary_key.join(", ")) : null],
    ]),
    columns.length > 0 && columnTable(columns, table.primary_key ?? []),
    definitions(t("table.constraints"), table.constraints),
    definitions(t("table.indexes"), table.indexes),
  );
}

function columnTable(columns, keys) {
  return h(
    "details",
    { class: "fold", open: columns.length <= 8 },
    h("summary", {}, t("table.columns", { count: columns.length })),
    h(
      "table",
      { class: "plain" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["name", "type", "dimensions"].map((name) => h("th", { scope: "col" }, t(`columns.${name}`))),
        ),
      ),
      h(
        "tbody",
        {},
        columns.map((column) =>
          h(
            "tr",
            {},
            h(
              "td",
              {},
              h("code", {}, column.name),
              keys.includes(column.name) && h("span", { class: "badge none" }, t("columns.key")),
            ),
            h(
              "td",
              {},
              h("code", {}, column.type),
              column.not_null && h("span", { class: "muted small" }, " NOT NULL"),
            ),
            h("td", {}, column.dimensions ? count(column.dimensions) : ""),
          ),
        ),
      ),
    ),
  );
}

function definitions(title, entries) {
  if (!entries?.length) return null;
  return h(
    "details",
    { class: "fold" },
    h("summary", {}, `${title} (${entries.length})`),
    h(
      "ul",
      { class: "definitions" },
      entries.map(({ name, definition }) => h("li", {}, h("code", {}, definition ?? name))),
    ),
  );
}

function fileLink(relativePath, file) {
  return file && h("a", { href: fileUrl(relativePath, file), download: file }, h("code", {}, file));
}

function checksum(value) {
  return h(
    "span",
    { class: "checksum" },
    h("code", {}, value),
    h(
      "button",
      {
        type: "button",
        class: "button icon-only",
        "aria-label": t("action.copy"),
        title: t("action.copy"),
        on: { click: (event) => copy(event, value) },
      },
      icon("copy"),
    ),
  );
}

async function copy(event, value) {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(value);
  } catch {
    // Frames may be without that right: let the browser copy what is marked.
    getSelection().selectAllChildren(button.previousElementSibling);
    document.execCommand("copy");
  }
  announce(t("copied"));
  button.replaceChildren(icon("check"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}

function verification(body) {
  if (!body) return null;
  return h(
    "details",
    { class: "fold" },
    h(
      "summary",
      {},
      t("detail.verification"),
      body.verified_at && h("span", { class: "muted" }, ` · ${relative(body.verified_at)}`),
    ),
    h("pre", { tabindex: "0" }, JSON.stringify(body, null, 2)),
  );
}

function log(section) {
  if (!section) return null;
  return h(
    "details",
    { class: "fold", open: true },
    h("summary", {}, t("detail.log")),
    h("pre", { tabindex: "0", "aria-label": t("detail.log") }, section.trim()),
  );
}
