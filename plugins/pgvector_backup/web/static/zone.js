/** The time zone that the user chose in Airflow's UI; else the browser's own. */

const STORED = "timezone"; // where Airflow's UI keeps it, as JSON

/** A name such as "Asia/Shanghai", or undefined for the browser's own. */
export function zone() {
  try {
    const name = JSON.parse(localStorage.getItem(STORED));
    new Intl.DateTimeFormat("en", { timeZone: name ?? undefined });
    return name ?? undefined;
  } catch {
    return undefined; // nothing stored, or nothing that is a time zone
  }
}

/** Call back when the user chooses another one. */
export function onZone(callback) {
  addEventListener("storage", (event) => event.key === STORED && callback());
}
