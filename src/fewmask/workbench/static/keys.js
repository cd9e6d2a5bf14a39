// The keyboard: one table says what each key does, and the sheet under "?" is made from it.
import { desk, note } from "./desk.js";
import * as dialog from "./dialog.js";

let table = [];

/** `rows`: { keys, words, group, run, up?, drawing? }; `drawing` rows need the slice in sight. */
export function setUp(rows) {
  table = rows;
  addEventListener("keydown", (event) => hear(event, "run"));
  addEventListener("keyup", (event) => hear(event, "up"));
  addEventListener("blur", () => table.forEach((row) => row.up?.()));
}

export function sheet() {
  const groups = new Map();
  for (const { keys, words, group } of table) {
    if (!words) continue;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push({ keys, words });
  }
  return dialog.keySheet(groups);
}

/** "Ctrl+Shift+z", "Alt+1", "b", "ArrowUp": how a press is written in the table. */
export function nameOf(event) {
  const digit = /^Digit(\d)$/.exec(event.code)?.[1];
  let key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (digit && event.altKey) key = digit; // Alt changes what a digit writes on some keyboards
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Ctrl");
  if (event.altKey) parts.push("Alt");
  // Shift is part of the sign for "?" or "+", and a key of its own for letters, arrows and Space.
  if (event.shiftKey && (key.length > 1 || key === " " || /[a-z]/.test(key))) parts.push("Shift");
  return [...parts, key].join("+");
}

const OWN_KEYS = {
  BUTTON: ["Enter", " "],
  SUMMARY: ["Enter", " "],
  A: ["Enter"],
};

// What has the focus comes first: fields take all keys, sliders take arrows, buttons Enter and Space.
function isTaken(event) {
  const { target } = event;
  if (!(target instanceof HTMLElement)) return false;
  if (target.matches("input:not([type=range]):not([type=checkbox]), select, textarea")) return true;
  if (target.matches("input[type=checkbox]")) return event.key === " ";
  if (target.matches("input[type=range]")) return /^(Arrow|Page|Home|End)/.test(event.key);
  if (target.matches("[role=tab]") && event.key.startsWith("Arrow")) return true;
  return OWN_KEYS[target.tagName]?.includes(event.key) ?? false;
}

function hear(event, kind) {
  if (dialog.isOpen() || event.isComposing || (kind === "run" && isTaken(event))) return;
  const name = nameOf(event);
  const single = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.altKey && !event.metaKey;
  if (single && !desk.shortcuts && event.key !== "?") return;
  const matches = (row) => row.keys.includes(name) || (kind === "up" && row.keys.includes(event.key.toLowerCase()));
  const row = table.find((one) => matches(one) && (!one.when || one.when()) && one[kind]);
  if (!row) return;
  event.preventDefault();
  if (row.drawing && desk.view !== "slice" && desk.view !== "planes") {
    note("Escape goes back to the slice, to draw on it.");
    return;
  }
  if (!desk.scan && !row.always) return;
  row[kind](event);
}
