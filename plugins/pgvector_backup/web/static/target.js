/** The database that a run is about, asked of the server itself: a connection's name promises nothing. */

import * as api from "./api.js";
import { t } from "./i18n.js";
import { code } from "./told.js";

const PAUSE = 300; // milliseconds without a key pressed after which a connection is asked for

/** A URI is shown without what stands before the host. */
const masked = (connection) => connection?.replace(/^(\w+:\/\/)[^@/]*@/, "$1…@");

/** A server in a few words. */
export const serverWords = ({ server_version: version, system_identifier: system }) =>
  [`PostgreSQL ${version}`, system && t("target.system", { system })].filter(Boolean).join(", ");

/** Asks each connection once, as soon as a form names it. */
export class Target {
  #kind;
  #overview;
  #known = new Map(); // by connection: what the server told, or why it did not

  /** @param {string} kind of the run: backup or restore */
  constructor(kind, overview) {
    this.#kind = kind;
    this.#overview = overview;
  }

  /** Ask of the connection that a form names, now and whenever it names another; `update` draws what depends on it. */
  watch(form, update) {
    const field = form.nodes.find((node) => node.dataset.key === "db_connection")?.querySelector("input");
    let timer = null;
    const ask = () => this.#ask(form.conf(), update);
    field?.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(ask, PAUSE);
    });
    ask();
  }

  async #ask(conf, update) {
    const key = conf.db_connection ?? null;
    if (this.#known.has(key)) return update();
    try {
      if (key?.includes("://")) throw new Error(t("target.uri"));
      this.#known.set(key, await api.target(this.#kind, key));
    } catch (fault) {
      this.#known.set(key, fault);
    }
    return update();
  }

  /** What is known of the database: as the API tells; an Error, why nothing is; undefined: not yet. */
  of(conf) {
    return this.#known.get(conf.db_connection ?? null);
  }

  /** Database, server and connection, as nodes. */
  words(conf) {
    const told = this.of(conf);
    const connection = code(masked(conf.db_connection) ?? told?.connection ?? this.#overview.connections?.default ?? "");
    if (!told?.database) return [connection];
    return [
      t("target.database"),
      " ",
      code(told.database),
      ` (${serverWords(told)}; `,
      connection,
      ")",
    ];
  }

  /**
   * The word to type before it is changed: its name.
   *
   * @param {string|null} otherwise where nobody can tell it
   * @returns {string|null|undefined} undefined: not known yet
   */
  name(conf, otherwise) {
    const told = this.of(conf);
    return told === undefined ? undefined : (told.database ?? otherwise);
  }

  /** Whether a set is of another database; null where nobody can say. */
  differs(conf, set) {
    const told = this.of(conf);
    if (!told?.database || !set.database) return null;
    const servers = [told.system_identifier, set.server?.system_identifier];
    return told.database !== set.database || (!servers.includes(null) && !servers.includes(undefined) && servers[0] !== servers[1]);
  }
}
