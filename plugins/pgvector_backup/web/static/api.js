/** The plugin's HTTP API, called as the user who looks at the page. */

import { language, t } from "./i18n.js";

const ROOT = new URL("..", document.baseURI);
const BASE = new URL("api/v0/data_pipeline/vector/", ROOT);
const PATIENCE = 60_000; // milliseconds

/** An answer that is not a success: `message` and `response` say what and the remedy, in the page's language. */
export class ApiError extends Error {
  constructor(status, envelope) {
    super(envelope?.message ?? t("error.status", { status: String(status) }));
    this.status = status;
    this.response = envelope?.data?.response ?? null;
    this.type = envelope?.data?.error_type ?? null;
    this.runId = envelope?.data?.run_id ?? null;
  }
}

/**
 * Call the API; the envelope's `data` is returned.
 *
 * @throws {ApiError} for an error status, and with status 0 when there was no answer
 */
async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(new URL(path, BASE), {
      method,
      headers: {
        Accept: "application/json",
        "Accept-Language": language,
        ...(body && { "Content-Type": "application/json" }),
      },
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new ApiError(0, { message: t("error.offline"), data: { response: t("error.offline.remedy") } });
  }
  let envelope = null;
  try {
    envelope = await answer.json();
  } catch {
    // what is no JSON comes from something in between; the status tells enough
  }
  if (!answer.ok || !envelope?.success) throw new ApiError(answer.status, envelope);
  return envelope.data;
}

const segments = (path) => path.split("/").map(encodeURIComponent).join("/");

export const overview = () => call("GET", "overview");
export const list = () => call("GET", "restore/list");
export const detail = (set) => call("GET", `sets/${segments(set.relative_path)}/${encodeURIComponent(set.timestamp)}`);
export const remove = (set) =>
  call("DELETE", `sets/${segments(set.relative_path)}/${encodeURIComponent(set.timestamp)}`);

/** The retention policy, and what it says of each set of one location. */
export const retention = (path) => call("GET", `retention?backup_path=${encodeURIComponent(path)}`);
const pinPath = (set) => `sets/${segments(set.relative_path)}/${encodeURIComponent(set.timestamp)}/pin`;
export const pin = (set, body) => call("PUT", pinPath(set), body);
export const unpin = (set) => call("DELETE", pinPath(set));

/** Start a run of `kind` (backup, restore, verify, prune or copy); at once, without waiting for its end. */
export const start = (kind, conf) => call("POST", `${kind}?wait=0`, conf);
export const run = (kind, runId) => call("GET", `${kind}/${encodeURIComponent(runId)}`);
export const cancel = (kind, runId) => call("DELETE", `${kind}/${encodeURIComponent(runId)}?wait=0`);

/** Where a file of a location is downloaded from. */
export const fileUrl = (relativePath, file) =>
  new URL(`download/${segments(relativePath)}/${encodeURIComponent(file)}`, BASE).href;

/** A page of Airflow's UI, by its path below the server's root. */
export const airflowUrl = (path) => new URL(path, ROOT).href;

/** Which database a connection leads to, as the server itself tells; `connection` null: the one that such runs use. */
export const target = (kind, connection) =>
  call("GET", `target?kind=${kind}${connection ? `&db_connection=${encodeURIComponent(connection)}` : ""}`);

/** How each set of a location stands at the other roots. */
export const copies = (path) => call("GET", `copies?backup_path=${encodeURIComponent(path)}`);

/** What differs between two sets of a location, by their keys. */
export const diff = (path, a, b) =>
  call("GET", `diff?${new URLSearchParams({ backup_path: path, a, b })}`);

/** In which sets of a location a row lies. */
export const find = (path, key) =>
  call("GET", `find?${new URLSearchParams([["backup_path", path], ...key.map((one) => ["key", one])])}`);

/** Runs that were only to tell what would be done, for a dialog that shows it: nobody else need be told of their end. */
export const rehearsals = new Set();

const PAUSE = 700; // milliseconds between two looks at a run

/**
 * Have a run tell what it would do, and wait for it.
 *
 * @param {function(): boolean} wanted whether anybody still waits
 * @returns {Promise<object|null>} the run, ended; null: nobody waits any more
 */
export async function rehearse(kind, conf, wanted) {
  const { run_id: runId } = await start(kind, { ...conf, dry_run: true });
  rehearsals.add(runId);
  while (wanted()) {
    const seen = await run(kind, runId);
    if (seen.state === "success" || seen.state === "failed") return seen;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return null;
}
