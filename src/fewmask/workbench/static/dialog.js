// Dialogs: questions, the conflict of two drawings, and the sheet of keys. All are <dialog>, so that Escape,
// focus and screen readers work as the browser does it.
import { change, desk, remember, shown } from "./desk.js";
import { element } from "./element.js";
import * as picture from "./picture.js";
import * as tools from "./tools.js";

const open = new Set();
export const isOpen = () => open.size > 0;

/** Show a dialog; resolves with the value of the button, or `otherwise` on Escape. */
export function ask({ title, parts = [], buttons, otherwise = null, kind = "", foot = "" }) {
  return new Promise((done) => {
    const heading = element("h2", { id: `title-${crypto.randomUUID()}` }, title);
    const dialog = element("dialog", { class: kind, "aria-labelledby": heading.id }, heading, ...parts);
    const end = (value) => {
      open.delete(dialog);
      dialog.close();
      dialog.remove();
      done(value);
    };
    const row = buttons.map(({ words, value, main = false }) =>
      element(
        "button",
        { type: "button", class: main ? "main" : "quiet", autofocus: main, onclick: () => end(value) },
        words,
      ),
    );
    dialog.append(element("div", { class: "row buttons" }, element("span", { class: "faint foot" }, foot), ...row));
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (otherwise !== "stay") end(otherwise);
    });
    document.body.append(dialog);
    open.add(dialog);
    dialog.showModal();
  });
}

const say = (words) => element("p", {}, words);

/** What an earlier tab could not save: "send" or "drop". */
export function offerLeft(entries) {
  const list = element(
    "ul",
    { class: "plain" },
    ...entries.slice(0, 12).map(({ name, d, shown: slice }) => element("li", {}, `${name}, slice ${slice ?? d}`)),
    entries.length > 12 ? element("li", {}, `and ${entries.length - 12} more`) : null,
  );
  return ask({
    title: entries.length === 1 ? "One slice was not saved last time" : `${entries.length} slices were not saved last time`,
    parts: [say("They are kept in this browser. Send them to the server now?"), list],
    buttons: [
      { words: "Send them", value: "send", main: true },
      { words: "Throw them away", value: "drop" },
      { words: "Ask me later", value: "later" },
    ],
    otherwise: "later",
  });
}

function preview(words, image, mask) {
  const { columns, rows, columnMm, rowMm } = image;
  const canvas = element("canvas", { role: "img", "aria-label": words });
  const scale = Math.min(360 / (columns * columnMm), 320 / (rows * rowMm));
  const ratio = devicePixelRatio || 1;
  Object.assign(canvas, { width: columns * columnMm * scale * ratio, height: rows * rowMm * scale * ratio });
  canvas.style.width = `${columns * columnMm * scale}px`;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const place = new picture.Place();
  Object.assign(place, { x: 0, y: 0, scale, columnMm, rowMm });
  picture.drawGrey(ctx, picture.windowed(image, desk.scan, desk.window), place);
  const look = picture.look(mask, columns, rows, desk.session.classes);
  picture.drawLook(ctx, look, place, { alpha: desk.opacity, filled: true });
  return element("figure", {}, canvas, element("figcaption", {}, words));
}

/** Two drawings of one slice: gives the mask to keep on top of theirs, or null for theirs. */
export async function conflict(entry, theirs, image) {
  const where = desk.scan ? `${entry.name}, slice ${shown(entry.d)}` : entry.name;
  const chosen = await ask({
    title: "This slice was changed elsewhere",
    kind: "wide",
    parts: [
      say(`${where} was saved from another window after you opened it here. Nothing is lost yet; which shall stand?`),
      element("div", { class: "pair" }, preview("Mine, from this window", image, entry.mask), preview("Theirs, on the server", image, theirs.mask)),
    ],
    buttons: [
      { words: "Keep mine", value: "mine", main: true },
      { words: "Keep theirs", value: "theirs" },
      { words: "Join both", value: "join" },
    ],
    otherwise: "stay",
  });
  if (chosen === "theirs") return null;
  return chosen === "join" ? tools.join(entry.mask, theirs.mask) : entry.mask;
}

const NAMES = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", ",": "Comma", ".": "Dot" };
const keyName = (one) =>
  one
    .split(/\+(?=.)/)
    .map((part) => NAMES[part] ?? (part.length === 1 ? part.toUpperCase() : part))
    .join(" ");

/** The sheet of keys. `groups` is a Map of title -> list of { keys, words }. */
export function keySheet(groups) {
  const columns = [...groups].map(([title, list]) =>
    element(
      "section",
      {},
      element("h3", {}, title),
      element(
        "dl",
        {},
        ...list.flatMap(({ keys, words }) => [
          element("dt", {}, ...keys.slice(0, 3).map((one) => element("kbd", {}, keyName(one)))),
          element("dd", {}, words),
        ]),
      ),
    ),
  );
  const box = element("input", { type: "checkbox" });
  box.checked = desk.shortcuts;
  box.addEventListener("change", () => {
    change({ shortcuts: box.checked });
    remember("shortcuts", box.checked);
  });
  return ask({
    title: "Keys",
    kind: "sheet",
    parts: [
      element("div", { class: "columns", tabindex: "0", role: "region", "aria-label": "List of keys" }, ...columns),
      element("label", { class: "check" }, box, "Single letters are shortcuts (off: only keys with Ctrl or Alt, and buttons)"),
    ],
    buttons: [{ words: "Close", value: null, main: true }],
    foot: `fewmask ${desk.session?.version ?? ""}`,
  });
}
