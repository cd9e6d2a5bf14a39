// One pen for mouse, pen, finger and keyboard: press, move, lift. What it does depends on the tool.
import { desk, note, tell } from "./desk.js";
import * as drawing from "./drawing.js";
import * as sam from "./sam.js";
import { hand } from "./slices.js";
import * as tools from "./tools.js";

/** What is being drawn and not yet in the map: corners of a polygon, a box. */
export const sketch = { corners: [], box: null };

let last = null;

const radii = (pressure) => {
  const mm = (desk.brushMm / 2) * pressure;
  return [Math.max(0.5, mm / hand.image.columnMm), Math.max(0.5, mm / hand.image.rowMm)];
};

const inside = ({ x, y }) => x >= 0 && y >= 0 && x < hand.image.columns && y < hand.image.rows;

const within = ({ x, y }) => ({
  x: Math.min(hand.image.columns, Math.max(0, x)),
  y: Math.min(hand.image.rows, Math.max(0, y)),
});

const value = () => (desk.tool === "eraser" ? 0 : desk.value);

const brush = {
  press(at, { pressure }) {
    sam.accept();
    const map = drawing.begin();
    if (!map) return;
    tools.disc(map, at.x, at.y, ...radii(pressure), value());
    last = at;
    tell("drawn");
  },
  move(at, { pressure }) {
    if (!last) return;
    tools.line(drawing.map(), last, at, ...radii(pressure), value());
    last = at;
    tell("drawn");
  },
  lift() {
    last = null;
    drawing.finish();
  },
};

const TOOLS = {
  brush,
  eraser: brush,
  polygon: {
    press(at) {
      sam.accept();
      sketch.corners.push(within(at));
      tell("sketch");
    },
  },
  fill: {
    press(at) {
      sam.accept();
      if (!inside(at)) return;
      const [column, row] = [Math.floor(at.x), Math.floor(at.y)];
      const filled = drawing.act((map) => tools.flood(map, column, row, desk.value));
      if (!filled) note("Nothing was filled: the outline around this point is open, or it is full already.");
    },
  },
  box: {
    press(at, { keyboard, outside }) {
      if (outside) return sam.point(within(at), false);
      if (keyboard && sketch.box) return finishBox(at);
      sketch.box = { from: within(at), to: within(at), keyboard };
      return tell("sketch");
    },
    move(at) {
      if (!sketch.box) return;
      sketch.box.to = within(at);
      tell("sketch");
    },
    lift(at) {
      if (sketch.box && !sketch.box.keyboard) finishBox(at);
    },
  },
  click: {
    press(at, { outside }) {
      if (inside(at)) sam.point(at, !outside);
    },
  },
};

function finishBox(at) {
  const { from } = sketch.box;
  const to = within(at);
  sketch.box = null;
  tell("sketch");
  const small = Math.abs(to.x - from.x) < 2 || Math.abs(to.y - from.y) < 2;
  if (small) return sam.point(from, true); // a click with the box tool
  return sam.box(from, to);
}

export const ready = () => drawing.map() !== null;

export function press(at, how = {}) {
  if (!ready()) return note("This slice is still on its way.");
  return TOOLS[desk.tool].press(at, { pressure: 1, ...how });
}

export function move(at, how = {}) {
  if (ready()) TOOLS[desk.tool].move?.(at, { pressure: 1, ...how });
}

export function lift(at) {
  if (ready()) TOOLS[desk.tool].lift?.(at);
}

export function closePolygon() {
  const { corners } = sketch;
  if (corners.length < 3) {
    if (corners.length) note("A polygon needs three corners.");
    return corners.length > 0;
  }
  sketch.corners = [];
  drawing.act((map) => tools.polygon(map, corners, desk.value));
  tell("sketch");
  return true;
}

export function dropCorner() {
  sketch.corners.pop();
  tell("sketch");
}

/** Drop all that is not yet in the outline; true if there was something. */
export function drop() {
  const had = sketch.corners.length > 0 || sketch.box !== null || drawing.drawing();
  sketch.corners = [];
  sketch.box = null;
  last = null;
  drawing.cancel();
  tell("sketch");
  return had;
}

/** Before leaving the slice: a closed polygon and a proposal are taken, half a box is dropped. */
export function putDown() {
  if (drawing.drawing()) drawing.finish();
  if (sketch.corners.length >= 3) closePolygon();
  drop();
  sam.accept();
}
