/** A dialog that says what will happen, and does it only when told so. */

import { announce, byFocus, fill, h, icon } from "./dom.js";
import { t } from "./i18n.js";

let number = 0;

/**
 * Ask; the dialog closes once `act` has succeeded, or when the user leaves.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {Node[]} options.content the form's fields
 * @param {function(): (Node|string|Array)} [options.consequence] what will happen and to what, as the fields are now
 * @param {function(): (string|null|undefined)} [options.confirmation] the word to type before anything happens; null:
 *   none; undefined: that is not known yet, so nothing may happen
 * @param {string} [options.confirm] words of the button; none: there is nothing to do but to close
 * @param {string} [options.backOut] words of the button that leaves all as it is
 * @param {boolean} [options.danger]
 * @param {function(): Promise} [options.act] an answer that is a Node is shown, and the dialog stays
 * @param {{words: string, act: function(function(): boolean): Promise<Node|null>}} [options.preview] a button that shows
 *   what would happen; `act` is told how to see whether the dialog is still there
 * @param {function(function())} [options.opened] called with what draws the consequence again
 */
export function ask({
  title,
  content = [],
  consequence,
  confirmation,
  confirm,
  backOut,
  danger = false,
  act,
  preview,
  opened,
}) {
  const id = `dialog-${(number += 1)}`;
  const told = h("div", { class: "consequence", id: `${id}-told`, "aria-live": "polite" });
  const guard = h("div", { class: "guard" });
  const problem = h("div", { role: "alert" });
  const shown = h("div", { class: "dialog-shown", "aria-live": "polite" });
  const rehearse =
    preview &&
    h("button", { type: "button", class: "button", data: { action: "preview" }, on: { click: look } }, preview.words);
  const cancel = h(
    "button",
    { type: "button", class: "button", on: { click: () => dialog.close() } },
    backOut ?? t(confirm ? "action.back_out" : "action.close"),
  );
  const go =
    confirm && h("button", { type: "submit", class: `button ${danger ? "danger solid" : "primary"}` }, confirm);
  const form = h(
    "form",
    { method: "dialog", novalidate: true, on: { submit, input: update, change: update } },
    h(
      "header",
      {},
      h("h2", { id }, title),
      h(
        "button",
        {
          type: "button",
          class: "button icon-only",
          "aria-label": t("action.close"),
          on: { click: () => dialog.close() },
        },
        icon("cross"),
      ),
    ),
    h("div", { class: "dialog-body" }, content),
    h("div", { class: "dialog-verdict" }, shown, consequence && told, guard, problem),
    h("footer", {}, cancel, rehearse, go),
  );
  const dialog = h(
    "dialog",
    {
      class: "dialog",
      "aria-labelledby": id,
      "aria-describedby": consequence ? `${id}-told` : null,
      on: { close: closed },
    },
    form,
  );
  const opener = document.activeElement?.dataset?.focus;
  let wanted = null;
  let typed = null;

  function closed() {
    dialog.remove();
    // The browser gives the focus back to the control that had it, unless that was drawn anew meanwhile.
    if (document.activeElement === document.body && opener !== undefined) byFocus(opener)?.focus();
  }

  function update() {
    if (consequence) fill(told, consequence());
    const word = confirmation ? confirmation() : null;
    if (word !== wanted) {
      wanted = word;
      typed =
        word === null || word === undefined
          ? null
          : h("input", {
              id: `${id}-word`,
              type: "text",
              autocomplete: "off",
              spellcheck: "false",
              autocapitalize: "off",
              data: { confirmation: "" },
            });
      fill(
        guard,
        word === undefined && h("p", { class: "muted" }, t("dialog.asking")),
        typeof word === "string" && [
          h("label", { for: `${id}-word` }, t("dialog.type.before"), h("code", {}, word), t("dialog.type.after")),
          typed,
        ],
      );
    }
    if (go) go.setAttribute("aria-disabled", String(!ready()));
  }

  const ready = () => !form.hasAttribute("aria-busy") && (wanted === null || typed?.value === wanted);

  function fail(fault) {
    fill(
      problem,
      h(
        "div",
        { class: "notice bad" },
        icon("warning"),
        h("div", {}, h("strong", {}, fault.message), fault.response && h("p", {}, fault.response)),
      ),
    );
    announce(fault.message);
  }

  async function look() {
    if (form.hasAttribute("aria-busy")) return;
    busy(true);
    fill(problem);
    fill(shown, h("p", { class: "muted loading" }, t("preview.waiting")));
    try {
      fill(shown, await preview.act(() => dialog.isConnected));
    } catch (fault) {
      fill(shown);
      fail(fault);
    } finally {
      busy(false);
    }
  }

  function busy(yes) {
    if (yes) form.setAttribute("aria-busy", "true");
    else form.removeAttribute("aria-busy");
    rehearse?.setAttribute("aria-disabled", String(yes));
    if (yes) go?.setAttribute("aria-disabled", "true");
    else update();
  }

  async function submit(event) {
    event.preventDefault();
    if (!go || form.hasAttribute("aria-busy")) return;
    if (wanted === undefined) return;
    if (!ready()) {
      fill(
        problem,
        h(
          "p",
          { class: "notice bad" },
          icon("warning"),
          h("span", {}, t("dialog.type.before"), wanted, t("dialog.type.after")),
        ),
      );
      typed.focus();
      return;
    }
    busy(true);
    fill(problem);
    try {
      const told_ = await act();
      if (told_ instanceof Node) fill(shown, told_);
      else dialog.close();
    } catch (fault) {
      fail(fault);
    } finally {
      busy(false);
    }
  }

  update();
  document.body.append(dialog);
  dialog.showModal();
  opened?.(update);
  const first = form.querySelector(".dialog-body :is(input, select, a), .guard input");
  (first ?? cancel).focus();
  return dialog;
}
