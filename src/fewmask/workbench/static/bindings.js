// What every key and every plain button does.
import { change, desk, note } from "./desk.js";
import * as drawing from "./drawing.js";
import * as editor from "./editor.js";
import { byId } from "./element.js";
import * as keys from "./keys.js";
import { goTo, nextScan, scroll, setTool, showTab, toggleQueue } from "./main.js";
import * as panel from "./panel.js";
import * as pen from "./pen.js";
import * as sam from "./sam.js";
import * as views from "./views.js";

const undo = () => (sam.drop() ? null : drawing.undo(goTo));
const redo = () => drawing.redo(goTo);

const preset = (i) => () => {
  const found = panel.presets()[i];
  if (found) change({ window: { low: found.low, high: found.high } });
};

const moveCursor = (dx, dy) => {
  editor.setCursor({ x: desk.cursor.x + dx, y: desk.cursor.y + dy });
  if (pressed) pen.move(desk.cursor);
};

let pressed = false;

function spaceDown(event) {
  if (!desk.keyboard) return editor.setSpace(true);
  if (event.repeat) return null;
  pressed = true;
  return pen.press(desk.cursor, { keyboard: true, outside: event.shiftKey });
}

function spaceUp() {
  editor.setSpace(false);
  if (!pressed) return;
  pressed = false;
  pen.lift(desk.cursor);
}

function toggleKeyboard() {
  pen.drop();
  change({ keyboard: !desk.keyboard });
  byId("slice").focus({ preventScroll: true });
  note(
    desk.keyboard
      ? "Keyboard drawing is on: arrows move the crosshair (Shift: 10 pixels), Space draws."
      : "Keyboard drawing is off.",
  );
}

function enter() {
  if (!pen.closePolygon()) sam.accept();
}

function escape() {
  if (pen.drop() || sam.drop()) return;
  if (desk.view !== "slice") views.show("slice");
}

const act = (run) => () => {
  pen.putDown();
  run();
};

const toggleTab = () => showTab(byId("panel-rounds").hidden ? "tab-rounds" : "tab-scan");

const toggle = (name) => () => change({ [name]: !desk[name] });
const draw = { group: "Draw", drawing: true };
const say = { group: "This slice and scan", drawing: true };
const look = { group: "Look" };
const move = { group: "Go" };
const moving = () => desk.keyboard;

const arrows = [
  ["ArrowUp", 0, -1],
  ["ArrowDown", 0, 1],
  ["ArrowLeft", -1, 0],
  ["ArrowRight", 1, 0],
].flatMap(([key, dx, dy]) => [
  { keys: [key], when: moving, run: () => moveCursor(dx, dy) },
  { keys: [`Shift+${key}`], when: moving, run: () => moveCursor(10 * dx, 10 * dy) },
]);

const tool = (key, name, words) => ({ ...draw, keys: [key], words, run: () => setTool(name) });

const rows = [
  tool("b", "brush", "Brush"),
  tool("e", "eraser", "Eraser"),
  { ...draw, keys: ["[", "]"], words: "Smaller, larger brush", run: (e) => editor.resizeBrush(e.key === "[" ? 0.8 : 1.25) },
  tool("p", "polygon", "Polygon: click its corners"),
  tool("f", "fill", "Fill a closed outline"),
  tool("x", "box", "Box for SAM: drag"),
  tool("c", "click", "Clicks for SAM: in; right button or Alt: out"),
  { ...draw, keys: ["Enter"], words: "Close the polygon, take SAM's outline", run: enter },
  { ...look, keys: ["Escape"], words: "Drop it, go back to the slice", group: "Draw", run: escape },
  { ...draw, keys: ["Backspace"], words: "Remove the last corner", run: () => pen.dropCorner() },
  { ...draw, keys: ["n"], words: "Copy to the next slice and fit", run: () => sam.copyToNext(goTo) },
  { ...draw, keys: ["m"], words: "Draw with the keyboard: arrows, Space", run: toggleKeyboard },
  { ...draw, keys: [" ", "Shift+ "], run: spaceDown, up: spaceUp },
  { ...draw, keys: ["Ctrl+z"], words: "Undo", run: undo },
  { ...draw, keys: ["Ctrl+Shift+z", "Ctrl+y"], words: "Do again", run: redo },
  { ...draw, keys: ["q", "w"], words: "Structure before, after", run: (e) => panel.stepStructure(e.key === "q" ? -1 : 1) },
  ...Array.from({ length: 9 }, (_, i) => ({
    ...draw,
    keys: [`Alt+${i + 1}`],
    words: i === 0 ? "Choose the first structure (Alt 2: the second, ...)" : "",
    run: () => desk.session.classes[i] && change({ value: desk.session.classes[i].value }),
  })),
  { ...say, keys: ["0"], words: "Nothing here", run: act(drawing.nothingHere) },
  { ...say, keys: ["t"], words: "Take the prediction into this slice", run: act(drawing.takePrediction) },
  { ...say, keys: ["Delete"], words: "Clear this slice", run: act(drawing.clear) },
  { ...say, keys: [","], words: "First slice of the structure", run: () => panel.tagEnd(0) },
  { ...say, keys: ["."], words: "Last slice of the structure", run: () => panel.tagEnd(1) },
  { ...say, keys: ["a"], words: "Accept this scan, or take it back", run: act(panel.acceptScan), drawing: false },
  ...arrows,
  { ...move, keys: ["ArrowUp", "ArrowDown"], words: "Slice before, after", run: (e) => scroll(e.key === "ArrowUp" ? -1 : 1) },
  { ...move, keys: ["PageUp", "PageDown"], words: "Ten slices back, on", run: (e) => scroll(e.key === "PageUp" ? -10 : 10) },
  { ...move, keys: ["Home", "End"], words: "First, last slice of the scan", run: (e) => scroll(e.key === "Home" ? -1e6 : 1e6) },
  { ...move, keys: ["j", "k"], words: "Next scan, scan before", run: (e) => nextScan(e.key === "j" ? 1 : -1) },
  ...Array.from({ length: 5 }, (_, i) => ({
    ...look,
    keys: [`${i + 1}`],
    words: i === 0 ? "First window (2 to 5: the others)" : "",
    run: preset(i),
  })),
  { ...look, keys: ["h"], words: "Hold: hide outlines", run: () => !desk.hidden && change({ hidden: true }), up: () => desk.hidden && change({ hidden: false }) },
  { ...look, keys: ["o"], words: "Contour, or filled", run: toggle("filled") },
  { ...look, keys: ["i"], words: "Neighbours' outlines", run: toggle("neighbours") },
  { ...look, keys: ["r"], words: "Predictions", run: toggle("predictions") },
  { ...look, keys: ["+", "="], words: "Zoom in", run: () => editor.zoom(1.25) },
  { ...look, keys: ["-"], words: "Zoom out", run: () => editor.zoom(0.8) },
  { ...look, keys: ["z"], words: "Whole slice", run: editor.fit },
  { ...look, keys: ["v"], words: "Three planes", run: () => views.show(desk.view === "planes" ? "slice" : "planes") },
  { ...look, keys: ["s"], words: "Two rounds side by side", run: () => views.show(desk.view === "rounds" ? "slice" : "rounds") },
  { ...look, keys: ["d"], words: "3D", run: () => views.show(desk.view === "solid" ? "slice" : "solid") },
  { ...look, keys: ["g"], words: "Queue in or out", run: toggleQueue, always: true },
  { ...look, keys: ["u"], words: "Train and rounds, or back", run: toggleTab, always: true },
  { ...look, keys: ["?"], words: "This sheet", run: () => keys.sheet(), always: true },
];

const buttons = {
  undo,
  redo,
  help: () => keys.sheet(),
  keyboard: toggleKeyboard,
  nothing: act(drawing.nothingHere),
  take: act(drawing.takePrediction),
  clear: act(drawing.clear),
  copy: () => sam.copyToNext(goTo),
  "tag-first": () => panel.tagEnd(0),
  "tag-last": () => panel.tagEnd(1),
  "tag-absent": () => panel.tagAbsent(),
  "tag-nothing": () => panel.tagNothing(),
  accept: act(panel.acceptScan),
  "proposal-take": () => sam.accept(),
  "proposal-drop": () => sam.drop(),
  "slice-before": () => scroll(-1),
  "slice-after": () => scroll(1),
  "zoom-in": () => editor.zoom(1.25),
  "zoom-out": () => editor.zoom(0.8),
  "zoom-fit": () => editor.fit(),
};

export const bindings = { keys: rows, buttons };
