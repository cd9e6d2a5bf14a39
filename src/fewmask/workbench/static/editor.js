// The slice editor: one canvas that shows the slice in hand and passes what pointers do to the pen.
import { change, depth, desk, on, remember, shown, structure, tell } from "./desk.js";
import { hand } from "./slices.js";
import * as pen from "./pen.js";
import * as picture from "./picture.js";
import * as sam from "./sam.js";

const canvas = document.getElementById("slice");
export const place = new picture.Place();
const cache = { grey: null, greyOf: null, looks: new Map() };
let placedFor = "";
let queued = false;
let hover = null; // the pointer, in pixels of the slice
let space = false;

export function redraw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    draw();
  });
}

export function fit() {
  placedFor = "";
  redraw();
}

function greyOf(image) {
  const { low, high } = desk.window;
  const key = `${hand.id}/${hand.d}/${low}/${high}`;
  if (cache.greyOf !== key || !cache.grey) {
    cache.grey = picture.windowed(image, desk.scan, desk.window);
    cache.greyOf = key;
  }
  return cache.grey;
}

/** Contours and tint of a mask, made again only where the mask is another or was drawn on. */
function lookOf(name, mask, { columns, rows }) {
  const found = cache.looks.get(name);
  if (found && found.mask === mask) return found.look;
  const look = picture.look(mask, columns, rows, desk.session.classes);
  cache.looks.set(name, { mask, look });
  return look;
}

function placeOnce(width, height) {
  const key = `${hand.id}/${width}x${height}`;
  if (placedFor === key) return;
  placedFor = key;
  place.fit(hand.image, width, height);
  desk.cursor = { x: hand.image.columns / 2, y: hand.image.rows / 2 };
}

function draw() {
  const { ctx, width, height } = picture.sharpen(canvas);
  label();
  canvas.dataset.slice = desk.scan ? `${hand.id}/${hand.d}` : "";
  canvas.dataset.ready = String(Boolean(hand.image && hand.outline && hand.predicted));
  if (!desk.scan || hand.id !== desk.scan.id || !hand.image) return;
  placeOnce(width, height);
  canvas.dataset.place = [place.x, place.y, place.sx, place.sy].join(" ");
  picture.drawGrey(ctx, greyOf(hand.image), place);
  if (!desk.hidden) drawMasks(ctx);
  drawSketch(ctx);
  if (desk.keyboard || desk.view === "planes") drawCrosshair(ctx, width, height);
  if (hover && !desk.keyboard) drawBrush(ctx, hover);
  picture.drawEdges(ctx, desk.scan.edges.get("0"), width, height);
  picture.drawScale(ctx, place, width, height);
  const last = shown(desk.scan.flipped ? 0 : depth() - 1);
  picture.drawWords(ctx, `slice ${shown(hand.d)} (${desk.session.slices_from} to ${last})`, 12, 12);
  const zoom = Math.round(place.scale * 100) / 100;
  picture.drawWords(ctx, `window ${round(desk.window.low)} to ${round(desk.window.high)}, ${zoom} px/mm`, 12, 30);
}

const round = (v) => (Math.abs(v) < 10 ? Math.round(v * 10) / 10 : Math.round(v));

function drawMasks(ctx) {
  const how = { alpha: desk.opacity, filled: desk.filled };
  if (desk.neighbours) {
    hand.beside.forEach((mask, i) => {
      ctx.save();
      const { contours } = lookOf(`beside${i}`, mask, hand.image);
      for (const { one, path } of contours) {
        ctx.globalAlpha = 0.45;
        ctx.lineWidth = 1;
        ctx.strokeStyle = one.colour;
        ctx.setLineDash([2, 3]);
        ctx.stroke(place.path(path));
      }
      ctx.restore();
    });
  }
  const mine = hand.outline && hand.outline.state !== "untouched";
  if (hand.prediction && desk.predictions && !mine && !drawingNow()) {
    const look = lookOf("prediction", hand.prediction, hand.image);
    picture.drawLook(ctx, look, place, { ...how, alpha: desk.opacity * 0.6, dashed: true });
  }
  if (hand.outline) picture.drawLook(ctx, lookOf("outline", hand.outline.mask, hand.image), place, how);
}

const drawingNow = () => canvas.dataset.drawing === "true";

function drawSketch(ctx) {
  const { colour } = structure();
  const found = sam.proposal;
  if (found && found.id === hand.id && found.d === hand.d) drawProposal(ctx, found);
  ctx.lineWidth = 1.5;
  ctx.strokeStyle = colour;
  if (pen.sketch.corners.length) {
    const points = pen.sketch.corners.map((p) => place.toScreen(p));
    ctx.beginPath();
    points.forEach((p, i) => (i ? ctx.lineTo(p.x, p.y) : ctx.moveTo(p.x, p.y)));
    const end = desk.keyboard ? desk.cursor : hover;
    if (end) {
      const at = place.toScreen(end);
      ctx.lineTo(at.x, at.y);
    }
    ctx.stroke();
    for (const p of points) dot(ctx, p, "#fff", colour);
  }
  if (pen.sketch.box) {
    const from = place.toScreen(pen.sketch.box.from);
    const to = place.toScreen(desk.keyboard ? desk.cursor : pen.sketch.box.to);
    ctx.setLineDash([6, 4]);
    ctx.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
    ctx.setLineDash([]);
  }
}

function drawProposal(ctx, found) {
  if (found.mask) {
    const path = cachedProposal(found);
    const onScreen = place.path(path);
    for (const [style, thick, dash] of [["#000a", 4, []], ["#fff", 2, []], [structure(found.value).colour, 2, [7, 7]]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = thick;
      ctx.setLineDash(dash);
      ctx.stroke(onScreen);
    }
    ctx.setLineDash([]);
  }
  ctx.strokeStyle = "#fff";
  ctx.lineWidth = 1;
  for (const [x0, y0, x1, y1] of found.boxes) {
    const [a, b] = [place.toScreen({ x: x0, y: y0 }), place.toScreen({ x: x1, y: y1 })];
    ctx.setLineDash([3, 4]);
    ctx.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
    ctx.setLineDash([]);
  }
  for (const [x, y, inside] of found.points) {
    dot(ctx, place.toScreen({ x, y }), inside ? "#2ecc71" : "#ff5d5d", "#fff", inside ? "+" : "−");
  }
}

function cachedProposal(found) {
  if (found.pathOf !== found.mask) {
    found.path = picture.contour(found.mask, hand.image.columns, hand.image.rows, 1);
    found.pathOf = found.mask;
  }
  return found.path;
}

function dot(ctx, { x, y }, fill, edge, sign = "") {
  ctx.beginPath();
  ctx.arc(x, y, sign ? 7 : 4, 0, 2 * Math.PI);
  ctx.fillStyle = fill;
  ctx.fill();
  ctx.lineWidth = 1.5;
  ctx.strokeStyle = edge;
  ctx.stroke();
  if (!sign) return;
  ctx.fillStyle = "#06120b";
  ctx.font = picture.font(13, 700);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(sign, x, y + 0.5);
}

function drawCrosshair(ctx, width, height) {
  const at = place.toScreen(desk.cursor);
  for (const [style, thick] of [["rgb(0 0 0 / 50%)", 3], ["rgb(255 214 102 / 90%)", 1]]) {
    ctx.strokeStyle = style;
    ctx.lineWidth = thick;
    ctx.beginPath();
    const gap = 6;
    ctx.moveTo(0, at.y);
    ctx.lineTo(at.x - gap, at.y);
    ctx.moveTo(at.x + gap, at.y);
    ctx.lineTo(width, at.y);
    ctx.moveTo(at.x, 0);
    ctx.lineTo(at.x, at.y - gap);
    ctx.moveTo(at.x, at.y + gap);
    ctx.lineTo(at.x, height);
    ctx.stroke();
  }
  if (desk.keyboard) drawBrush(ctx, desk.cursor);
}

function drawBrush(ctx, at) {
  if (desk.tool !== "brush" && desk.tool !== "eraser") return;
  const { x, y } = place.toScreen(at);
  for (const [style, thick] of [["rgb(0 0 0 / 60%)", 3], [desk.tool === "eraser" ? "#fff" : structure().colour, 1.5]]) {
    ctx.strokeStyle = style;
    ctx.lineWidth = thick;
    ctx.beginPath();
    ctx.arc(x, y, (desk.brushMm / 2) * place.scale, 0, 2 * Math.PI);
    ctx.stroke();
  }
}

function label() {
  const words = desk.scan
    ? `Scan ${desk.scan.name}, slice ${shown(desk.d)}, ${hand.outline?.state ?? "on its way"}, ` +
      `structure ${structure().name}, tool ${desk.tool}`
    : "No scan is open";
  if (canvas.getAttribute("aria-label") !== words) canvas.setAttribute("aria-label", words);
}

// ---- pointers -------------------------------------------------------------------------------------------

const here = (event) => {
  const box = canvas.getBoundingClientRect();
  return { sx: event.clientX - box.left, sy: event.clientY - box.top };
};

const at = (event) => {
  const { sx, sy } = here(event);
  return place.toSlice(sx, sy);
};

// A pen pressed lightly draws a thinner line; a mouse and a finger draw the brush as it is set.
const pressureOf = (event) => (event.pointerType === "pen" && event.pressure ? 0.4 + 1.2 * event.pressure : 1);

let held = null; // { kind: "draw" | "pan" | "window" | "zoom", ... } while a button is down
const fingers = new Map();

canvas.addEventListener("pointerdown", (event) => {
  if (!hand.image) return;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const from = here(event);
  if (event.pointerType === "touch") {
    fingers.set(event.pointerId, from);
    if (fingers.size === 2) return startPinch();
  }
  if (event.button === 1 || (event.button === 0 && space)) held = { kind: "pan", ...from };
  else if (event.button === 2) held = { kind: "window", ...from, moved: false, window: { ...desk.window } };
  else if (event.button === 0 && event.shiftKey) setCursor(at(event));
  else if (event.button === 0) {
    held = { kind: "draw" };
    canvas.dataset.drawing = "true";
    pen.press(at(event), { pressure: pressureOf(event), outside: event.altKey });
  }
  event.preventDefault();
});

function startPinch() {
  pen.drop();
  const [a, b] = [...fingers.values()];
  held = { kind: "zoom", apart: Math.hypot(a.sx - b.sx, a.sy - b.sy), ...middle(a, b) };
}

const middle = (a, b) => ({ sx: (a.sx + b.sx) / 2, sy: (a.sy + b.sy) / 2 });

canvas.addEventListener("pointermove", (event) => {
  if (!hand.image) return;
  hover = at(event);
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, here(event));
  if (held) MOVES[held.kind](event);
  redraw();
});

const MOVES = {
  draw(event) {
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) pen.move(at(one), { pressure: pressureOf(one) });
  },
  pan(event) {
    const to = here(event);
    place.x += to.sx - held.sx;
    place.y += to.sy - held.sy;
    Object.assign(held, to);
  },
  window(event) {
    const to = here(event);
    const [dx, dy] = [to.sx - held.sx, to.sy - held.sy];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    held.moved = true;
    const { low, high } = held.window;
    const span = high - low;
    const wide = Math.max(span * 0.02, span * Math.exp(dx / 200));
    const centre = (low + high) / 2 + (dy / 300) * span;
    change({ window: { low: centre - wide / 2, high: centre + wide / 2 } });
  },
  zoom() {
    const [a, b] = [...fingers.values()];
    if (!b) return;
    const apart = Math.hypot(a.sx - b.sx, a.sy - b.sy);
    const to = middle(a, b);
    place.x += to.sx - held.sx;
    place.y += to.sy - held.sy;
    place.zoom(apart / held.apart, to.sx, to.sy);
    Object.assign(held, to, { apart });
  },
};

function release(event) {
  fingers.delete(event.pointerId);
  const was = held;
  held = null;
  canvas.dataset.drawing = "false";
  if (was?.kind === "draw") pen.lift(at(event));
  const clicks = desk.tool === "click" || desk.tool === "box";
  if (was?.kind === "window" && !was.moved && clicks) pen.press(at(event), { outside: true });
}

canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", (event) => {
  fingers.delete(event.pointerId);
  held = null;
  canvas.dataset.drawing = "false";
  pen.drop();
});
canvas.addEventListener("pointerleave", () => {
  hover = null;
  redraw();
});
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("dblclick", () => desk.tool === "polygon" && pen.closePolygon());

let turned = 0;
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const { sx, sy } = here(event);
    if (event.ctrlKey || event.metaKey) {
      place.zoom(Math.exp(-event.deltaY / 300), sx, sy);
      return redraw();
    }
    turned += event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
    const steps = Math.trunc(turned / 50);
    if (steps === 0) return null;
    turned -= steps * 50;
    return tell("scroll", Math.sign(steps)); // browsers call a notch 50 to 120 pixels: it is one slice
  },
  { passive: false },
);

// ---- what keys do here ----------------------------------------------------------------------------------

export function zoom(factor) {
  place.zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
  redraw();
}

export function setSpace(down) {
  space = down;
  canvas.classList.toggle("panning", down);
}

export function setCursor({ x, y }) {
  if (!hand.image) return;
  const middleOf = (v, most) => Math.min(most - 1, Math.max(0, Math.floor(v))) + 0.5;
  desk.cursor = { x: middleOf(x, hand.image.columns), y: middleOf(y, hand.image.rows) };
  redraw();
  tell("cursor");
}

export function resizeBrush(factor) {
  const mm = Math.min(120, Math.max(1, Math.round(desk.brushMm * factor * 2) / 2));
  change({ brushMm: mm === desk.brushMm ? mm + Math.sign(factor - 1) * 0.5 : mm });
  remember("brush", desk.brushMm);
}

new ResizeObserver(redraw).observe(canvas);
for (const name of ["look", "slice", "sketch", "proposal", "cursor"]) on(name, redraw);
on("drawn", () => {
  cache.looks.delete("outline");
  redraw();
});
