/** The page "Vector backups": what it knows, when it asks again, and which part shows what. */

import * as api from "./api.js";
import { askCompare, askFind } from "./compare.js";
import { setDetail } from "./detail.js";
import {
  askBackup,
  askCancel,
  askCopies,
  askDelete,
  askDeleteMany,
  askDownload,
  askPin,
  askPrune,
  askUnpin,
  askVerify,
} from "./dialogs.js";
import { announce, byFocus, fill, h } from "./dom.js";
import { filterBar } from "./filter.js";
import { percent, renewAges } from "./format.js";
import { head } from "./head.js";
import { History } from "./history.js";
import { language, locale, onLanguage, t } from "./i18n.js";
import { problem } from "./problem.js";
import { noticeCard, outcome, runningCards } from "./run.js";
import { chainOf, hasKeys, keyOf, madeAt } from "./set.js";
import { recentRuns } from "./recent.js";
import { askRestore } from "./restore.js";
import { firstPath, retentionPanel, withPins } from "./retention.js";
import { chosen, filterBy, noSets, openSet, setTable, showMore, tickedBar, view } from "./sets.js";
import { tiles } from "./state.js";
import { followTheme } from "./theme.js";
import { warningList } from "./warnings.js";
import { onZone, zone } from "./zone.js";

const BUSY = 1500; // milliseconds between two questions while something runs
const IDLE = 20_000;
const PLACES = 8; // locations whose copies are asked for with the list: each is a list at every other root
const KINDS = ["backup", "restore", "verify", "prune", "copy"];

const known = { overview: null, locations: [], sets: [], problem: null, listed: "", path: "" };
const plans = new Map(); // by a location's path: what the policy says of its sets, or why that is not known
const standings = new Map(); // by a location's path: how its sets stand at the other roots, by their ids
const details = new Map(); // by a set's key: what the API told, or why it did not
const drawn = new Map(); // by a set's key: what is shown of it
const watched = new Map(); // by run id: kind of a run that this user saw running
const ended = new Map(); // by run id: run to give notice of
let timer = null;

// --- the parts of the page ---

const page = document.getElementById("page");
const part = Object.fromEntries(
  ["head", "problem", "warnings", "running", "notices", "tiles", "recent", "filter", "history", "sets", "retention"].map((name) => [
    name,
    h("div", { data: { part: name } }),
  ]),
);
part.history.dataset.history = "";
const history = new History(part.history);

function build() {
  document.documentElement.lang = locale();
  document.title = t("title");
  const section = (name, title, ...content) =>
    h(
      "section",
      { class: `part part-${name}`, "aria-labelledby": `${name}-title` },
      h("h2", { id: `${name}-title` }, title),
      ...content,
    );
  fill(
    page,
    part.head,
    part.problem,
    part.warnings,
    section("now", t("now.title"), part.running, part.notices, part.tiles, part.recent),
    section("sets", t("sets.title"), part.filter, part.history, part.sets),
    section("retention", t("retention.title"), part.retention),
  );
}

// --- what the user may do: a function, or the reason why not ---

function allowed() {
  const { overview } = known;
  const trigger = (kind, act) => {
    if (kind === "backup" && overview?.paused) return t("why.paused");
    if (overview?.can_trigger?.[kind]) return act;
    const runs = Object.values(overview?.can_trigger ?? {}).some(Boolean);
    return runs ? t("why.dag", { dag: `pgvector_${kind}` }) : t("why.rights");
  };
  return {
    backup: trigger("backup", () => askBackup({ overview: known.overview, started })),
    verify: trigger("verify", (set) => askVerify({ overview: known.overview, set, started })),
    restore: trigger("restore", (set, detail) => askRestore({ overview: known.overview, set, detail, started })),
    remove: overview?.can_edit ? (set) => askDelete({ overview: known.overview, set, deleted }) : t("why.rights"),
    pin: overview?.can_edit ? (set) => askPin({ set, done: pinned }) : t("why.rights"),
    unpin: overview?.can_edit ? (set) => askUnpin({ set, done: pinned }) : t("why.rights"),
    prune: trigger("prune", (plan, path) => askPrune({ overview: known.overview, plan, path, started })),
    copies: trigger("copy", (set, detail) => askCopies({ overview: known.overview, set, detail, started })),
    cancel: overview?.can_edit ? (run) => askCancel({ run, cancelled: () => refresh() }) : t("why.rights"),
    compare:
      overview?.can_download === false
        ? t("why.download")
        : (set) => askCompare({ set, sets: sameLocation(set) }),
    download: overview?.can_download === false ? t("why.download") : (set, detail) => askDownload({ set, detail }),
  };
}

const sameLocation = (set) => known.sets.filter((one) => one.relative_path === set.relative_path);

// --- drawing ---

function drawNow() {
  const { overview, sets } = known;
  if (!overview) {
    fill(part.tiles, h("p", { class: "muted loading" }, known.problem ? "" : t("loading")));
    return;
  }
  const may = allowed();
  const able = (name) => (typeof may[name] === "function" ? may[name] : null);
  fill(
    part.warnings,
    overview.warnings.length > 0 &&
      h(
        "ul",
        { class: "warnings", "aria-label": t("warnings.title") },
        warningList(overview.warnings, { backUp: able("backup"), verify: able("verify"), open: reveal }),
      ),
  );
  fill(
    part.running,
    runningCards(overview.running, {
      canCancel: able("cancel") !== null,
      cancel: may.cancel,
      places: { connection: overview.connections?.default, root: overview.storage?.backup_root },
    }),
  );
  fill(
    part.notices,
    [...ended.values()].map((run) => noticeCard(run, () => dismiss(run))),
  );
  fill(part.tiles, h("div", { class: "tiles" }, tiles(overview, sets, reveal)));
  fill(part.recent, recentRuns(overview.recent ?? []));
}

function drawFilter() {
  const mayFind = known.overview?.can_download !== false && known.sets.some(hasKeys);
  const find = () => askFind({ locations: known.locations, open: reveal });
  fill(part.filter, known.sets.length > 0 && filterBar(known.locations, databases(), filtered, mayFind && find));
}

const databases = () => [...new Set(known.sets.map((set) => set.database).filter(Boolean))].sort();

/** Whether it is not even known which sets there are. */
const unreadable = () => known.overview.warnings.some(({ code }) => code === "ROOT_UNREADABLE");

function drawSets() {
  const sets = chosen(known.sets);
  const shown = part.filter.querySelector("[data-part=count]");
  if (shown) shown.textContent = t("sets.count", { count: sets.length, all: known.sets.length });
  if (known.sets.length === 0) return fill(part.sets, known.overview && (unreadable() ? h("p", { class: "muted" }, t("sets.unreadable")) : noSets(allowed().backup)));
  if (sets.length === 0) return fill(part.sets, h("p", { class: "muted" }, t("sets.none_chosen")));
  const { remove } = allowed();
  return fill(
    part.sets,
    tickedBar(known.sets, (ticked) => askDeleteMany({ overview: known.overview, sets: ticked, deleted })),
    setTable(sets, {
      detail: detailOf,
      copies: (set) => standings.get(set.relative_path)?.[set.timestamp],
      standing: known.sets,
      toggle,
      tick: typeof remove === "function" ? tick : null,
      more: () => {
        showMore();
        drawSets();
      },
    }),
  );
}

/** What an open set shows; the same node as before while there is nothing new, so that nobody's reading is disturbed. */
function detailOf(set) {
  const key = keyOf(set);
  const may = allowed();
  const told = details.get(key);
  const planned = plans.get(set.relative_path)?.locations?.[0];
  const state = JSON.stringify([
    language,
    set.pin,
    planned?.sets.find((one) => one.timestamp === set.timestamp),
    zone(),
    set.damaged,
    chainOf(set, sameLocation(set)).map(([id, there]) => [id, Boolean(there)]),
    Object.values(may).map((act) => (typeof act === "string" ? act : "")),
  ]);
  const shown = drawn.get(key);
  if (shown?.told === told && shown?.state === state) return shown.node;
  const node = setDetail(set, told, may, { planned, open: reveal, sets: sameLocation(set) });
  drawn.set(key, { told, state, node });
  return node;
}

function drawRetention() {
  const paths = known.locations.map((one) => one.relative_path);
  part.retention.closest("section").hidden = paths.length === 0;
  fill(
    part.retention,
    retentionPanel(plans.get(known.path) ?? null, {
      paths,
      path: known.path,
      choose: (path) => {
        known.path = path;
        drawRetention();
        plan(path);
      },
      prune: allowed().prune,
      open: reveal,
    }),
  );
}

function draw() {
  fill(part.head, head(allowed(), known.overview !== null));
  fill(part.problem, known.problem && problem(known.problem, refresh));
  drawNow();
}

function drawList() {
  drawFilter();
  history.draw(chosen(known.sets));
  part.history.hidden = known.sets.length === 0;
  drawSets();
  drawRetention();
}

// --- what the user does ---

function filtered(change) {
  filterBy(change);
  history.draw(chosen(known.sets));
  drawSets();
}

function toggle(set) {
  const key = keyOf(set);
  if (!view.open.delete(key)) {
    view.open.add(key);
    load(set);
  }
  drawSets();
}

function tick(key) {
  if (!view.ticked.delete(key)) view.ticked.add(key);
  drawSets();
}

/** Open a set, scroll to it and put the focus on it. */
function reveal(relativePath, timestamp) {
  const key = `${relativePath}/${timestamp}`;
  const set = known.sets.find((one) => keyOf(one) === key);
  if (!set) return;
  openSet(key, known.sets);
  load(set);
  drawList();
  const opener = byFocus(`open-${key}`, part.sets);
  opener?.focus({ preventScroll: true });
  opener?.closest("tbody").scrollIntoView({
    block: "start",
    behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
  });
}

/** Ask what the policy says of a location. */
async function plan(path) {
  if (path === "") return;
  let told;
  try {
    told = withPins(await api.retention(path), known.sets);
  } catch (fault) {
    told = fault;
  }
  plans.set(path, told);
  drawRetention();
  drawSets();
}

/** Ask how the sets of a location stand at the other roots, where there are any. */
async function stand(path) {
  try {
    standings.set(path, (await api.copies(path)).sets);
  } catch {
    standings.delete(path); // the list does without; the details tell what is the matter
  }
  drawSets();
}

async function pinned(words) {
  announce(words);
  await refreshList();
}

async function load(set) {
  if (!plans.has(set.relative_path)) plan(set.relative_path);
  const key = keyOf(set);
  try {
    details.set(key, await api.detail(set));
  } catch (fault) {
    details.set(key, fault);
  }
  drawSets();
}

function started(kind, { run_id: runId }) {
  watched.set(runId, kind);
  announce(t(`run.${kind}.queued`));
  refresh();
}

function deleted(set) {
  view.open.delete(keyOf(set));
  view.ticked.delete(keyOf(set));
  details.delete(keyOf(set));
  announce(t("delete.done", { set: set.timestamp }));
  // The list too, which is not asked for again and again while something runs.
  refreshList().then(refresh, refresh);
}

function dismiss(run) {
  ended.delete(run.run_id);
  drawNow();
  part.head.querySelector("button")?.focus();
}

// --- asking the API ---

async function refresh() {
  clearTimeout(timer);
  try {
    const overview = await api.overview();
    const before = known.overview;
    known.overview = overview;
    const finished = await follow(overview.running);
    const news =
      finished ||
      before === null ||
      overview.last?.run_id !== before.last?.run_id ||
      overview.running.length !== before.running.length;
    if (news || overview.running.length === 0) await refreshList();
    known.problem = null;
  } catch (fault) {
    known.problem = fault;
  }
  draw();
  if (known.listed === "") drawList();
  renewAges(part.sets);
  page.setAttribute("aria-busy", "false");
  schedule();
}

async function refreshList() {
  const { backup_locations: locations } = await api.list();
  const text = JSON.stringify(locations);
  if (text === known.listed) return;
  known.listed = text;
  known.locations = locations;
  known.sets = locations.flatMap((one) => one.backups).sort((one, other) => madeAt(other) - madeAt(one));
  if (!locations.some((one) => one.relative_path === known.path)) known.path = firstPath(known.sets);
  // Of every location that is shown or whose sets are open: what was planned for others is asked for once they are.
  const shown = new Set([known.path, ...known.sets.filter((set) => view.open.has(keyOf(set))).map((set) => set.relative_path)]);
  for (const path of plans.keys()) if (!shown.has(path)) plans.delete(path);
  for (const path of shown) plan(path);
  const inSight = new Set(chosen(known.sets).slice(0, view.limit).map((set) => set.relative_path));
  standings.clear();
  if (known.overview?.copy_roots?.length) for (const path of [...inSight].slice(0, PLACES)) stand(path);
  for (const set of known.sets) if (view.open.has(keyOf(set))) load(set);
  drawList();
}

/** Keep track of what runs; tell how those came to an end that ran a moment ago. */
async function follow(running) {
  for (const run of running) if (!api.rehearsals.has(run.run_id)) watched.set(run.run_id, run.kind);
  announceProgress(running);
  const now = new Set(running.map((run) => run.run_id));
  let finished = false;
  for (const [runId, kind] of [...watched].filter(([id]) => !now.has(id))) {
    let run;
    try {
      run = await api.run(kind, runId);
    } catch (fault) {
      if (fault.status !== 404) throw fault;
      watched.delete(runId); // somebody deleted it in Airflow
      continue;
    }
    if (!isOver(run)) continue;
    watched.delete(runId);
    if (api.rehearsals.has(runId)) continue; // shown where it was asked for
    if (kind === "copy") known.listed = "before a copy"; // which changes no set, and where it lies
    ended.set(runId, run);
    finished = true;
    const { title, text } = outcome(run);
    announce(`${title}. ${text}`);
  }
  return finished;
}

const isOver = (run) => run.state === "success" || run.state === "failed";

/** For those who listen: every quarter of the way. */
const told = new Map();
function announceProgress(running) {
  for (const run of running) {
    const quarter = Math.floor((run.progress?.share ?? 0) * 4);
    if (quarter > (told.get(run.run_id) ?? 0)) announce(`${t(`run.${run.kind}.running`)} ${percent(quarter / 4)}`);
    told.set(run.run_id, quarter);
  }
}

function schedule() {
  clearTimeout(timer);
  if (document.hidden) return;
  const busy = known.overview?.running.length > 0 || watched.size > 0;
  timer = setTimeout(refresh, busy ? BUSY : IDLE);
}

/** `?run_id=…` or `?set={relative_path}/{timestamp}` in the address: what a link from elsewhere is about. */
async function followAddress() {
  const asked = new URLSearchParams(location.search);
  const runId = asked.get("run_id");
  const key = asked.get("set");
  const kind = KINDS.find((one) => asked.get("dag_id") === `pgvector_${one}`) ?? "backup";
  // A restore may have made a set too, of what was there before; who follows its link asks for the restore.
  const set = known.sets.find(
    (one) => (key !== null && keyOf(one) === key) || (runId !== null && kind === "backup" && one.run_id === runId),
  );
  if (set) return reveal(set.relative_path, set.timestamp);
  if (runId === null) return undefined;
  try {
    const run = await api.run(kind, runId);
    if (isOver(run)) ended.set(runId, run);
    else watched.set(runId, kind);
    // A restore and a verify are of sets that other runs have made.
    const { backup_path: path, timestamp } = run.result?.backup_info ?? run.result?.sets?.[0] ?? {};
    if (path && timestamp) reveal(path, timestamp);
  } catch (fault) {
    known.problem = fault;
  }
  draw();
  return schedule();
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
onLanguage(() => {
  build();
  details.clear();
  plans.clear();
  plan(known.path);
  draw();
  drawList();
  refresh();
  for (const set of known.sets) if (view.open.has(keyOf(set))) load(set);
});
onZone(() => {
  draw();
  drawList();
});
followTheme(() => history.redraw());
build();
draw();
await refresh();
await followAddress();
