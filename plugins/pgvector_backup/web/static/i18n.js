/** The page's language: Airflow's own choice if it is one of ours, and the words in it. */

import en from "./words/en.js";
import zh from "./words/zh.js";

const WORDS = { en, zh };
const STORED = "i18nextLng"; // where Airflow's UI keeps the language that its user chose

/** "en" or "zh". */
export let language = detect();

function detect() {
  const wanted = [read(), ...navigator.languages].filter(Boolean);
  return (wanted[0] ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
}

function read() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/** What `Intl` and `<html lang>` call it; in English with the user's region, which decides how dates look. */
export function locale() {
  return language === "zh" ? "zh-CN" : (navigator.languages.find((one) => /^en-[A-Z]{2}$/.test(one)) ?? "en");
}

/** Call back when Airflow's language changes. */
export function onLanguage(callback) {
  const check = () => {
    const now = detect();
    if (now === language) return;
    language = now;
    callback();
  };
  addEventListener("storage", (event) => event.key === STORED && check());
  addEventListener("languagechange", check);
}

/**
 * The words of a key, with `{name}` filled in. A key with a plural form has `{count}` decide which.
 *
 * @param {string} key
 * @param {Record<string, string|number>} params
 */
export function t(key, params = {}) {
  let words = WORDS[language][key] ?? WORDS.en[key] ?? key;
  if (typeof words !== "string") words = words[new Intl.PluralRules(locale()).select(params.count)] ?? words.other;
  return words.replaceAll(/\{(\w+)\}/g, (whole, name) =>
    name in params ? (typeof params[name] === "number" ? params[name].toLocaleString(locale()) : params[name]) : whole,
  );
}

/** Whether there are words for a key in the page's language. */
export function known(key) {
  return key in WORDS[language];
}
