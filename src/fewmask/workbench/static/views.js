// The other pictures: the two further planes, and two rounds side by side.
import * as api from "./api.js";
import { change, complain, depth, desk, on, shown, tell } from "./desk.js";
import { setCursor } from "./editor.js";
import { byId, element } from "./element.js";
import * as picture from "./picture.js";
import { doneRounds } from "./rounds.js";
import { hand, image, mask, outline } from "./slices.js";

const EMPTY_LOOK = { tint: null, contours: [] };

/** One picture of a cut through the scan, with masks over it. */
class Pane {
  constructor(canvas, { click = null, words }) {
    Object.assign(this, { canvas, click, words, place: new picture.Place(), have: null, wants: "" });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => event.buttons & 1 && this.press(event));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        tell("scroll", Math.sign(event.deltaY));
      },
      { passive: false },
    );
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  press(event) {
    if (!this.click || !this.have) return;
    const box = this.canvas.getBoundingClientRect();
    this.click(this.place.toSlice(event.clientX - box.left, event.clientY - box.top));
  }

  /** Show `what`: axis, index, round, and which layers; keeps the former picture until this one is here. */
  async show(what) {
    const { scan } = desk;
    const key = JSON.stringify([scan.id, what, desk.window]);
    if (key === this.wants) return this.draw();
    this.wants = key;
    try {
      const have = await fetchCut(scan, what);
      if (this.wants === key) this.have = { ...have, what };
    } catch (error) {
      if (this.wants === key) {
        this.wants = "";
        complain(error);
      }
    }
    return this.draw();
  }

  forget() {
    this.wants = "";
  }

  draw() {
    const { canvas, have } = this;
    if (!canvas.clientWidth || !desk.scan) return;
    const { ctx, width, height } = picture.sharpen(canvas);
    canvas.setAttribute("aria-label", this.words());
    if (!have) return;
    this.place.fit(have.image, width, height, 22);
    picture.drawGrey(ctx, have.grey, this.place);
    if (!desk.hidden) {
      const how = { alpha: desk.opacity, filled: desk.filled, width: 1.5 };
      if (desk.predictions) {
        picture.drawLook(ctx, have.predicted, this.place, { ...how, alpha: desk.opacity * 0.6, dashed: true });
      }
      picture.drawLook(ctx, have.drawn, this.place, how);
    }
    if (this.click) this.crosshair(ctx, width, height);
    picture.drawEdges(ctx, desk.scan.edges.get(String(have.what.axis)), width, height);
    picture.drawWords(ctx, have.what.title, 10, 10);
    picture.drawScale(ctx, this.place, width, height);
  }

  crosshair(ctx, width, height) {
    const { axis } = this.have.what;
    const across = axis === 1 ? desk.cursor.x : desk.cursor.y;
    const at = this.place.toScreen({ x: across, y: depth() - 1 - desk.d + 0.5 });
    ctx.strokeStyle = "rgb(255 214 102 / 90%)";
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(0, at.y);
    ctx.lineTo(width, at.y);
    ctx.moveTo(at.x, 0);
    ctx.lineTo(at.x, height);
    ctx.stroke();
  }
}

async function fetchCut(scan, { axis, index, round, layers }) {
  const cut = await image(scan.id, axis, index);
  const size = cut.rows * cut.columns;
  const lookOf = async (layer) => {
    if (!layers.includes(layer)) return EMPTY_LOOK;
    if (layer === "prediction" && round === null) return EMPTY_LOOK;
    try {
      const found =
        layer === "outline" && axis === 0
          ? (await outline(scan, index)).mask
          : await mask(scan.id, axis, index, layer, layer === "outline" ? null : round, size);
      if (layer === "prediction" && axis > 0) return lookBetween(scan, found, cut);
      return picture.look(found, cut.columns, cut.rows, desk.session.classes);
    } catch (error) {
      if (error instanceof api.Refused && error.status === 404) return EMPTY_LOOK;
      throw error;
    }
  };
  const [drawn, predicted] = await Promise.all([lookOf("outline"), lookOf("prediction")]);
  return { image: cut, grey: picture.windowed(cut, scan, desk.window), drawn, predicted };
}

/** A prediction across slices, without those that a person outlined or called empty. */
function lookBetween(scan, found, { columns, rows }) {
  const shownOnly = found.slice();
  for (const d of scan.slices.keys()) {
    const row = rows - 1 - Number(d);
    shownOnly.fill(0, row * columns, (row + 1) * columns);
  }
  return picture.look(shownOnly, columns, rows, desk.session.classes);
}

const floor = (v, most) => Math.min(most - 1, Math.max(0, Math.floor(v)));
const planes = [
  new Pane(byId("plane-1"), {
    words: () => `Second plane through row ${Math.floor(desk.cursor.y)}; a click goes there`,
    click: ({ x, y }) => goTo({ x, y: desk.cursor.y }, y),
  }),
  new Pane(byId("plane-2"), {
    words: () => `Third plane through column ${Math.floor(desk.cursor.x)}; a click goes there`,
    click: ({ x, y }) => goTo({ x: desk.cursor.x, y: x }, y),
  }),
];
const sides = ["a", "b"].map(
  (side) => new Pane(byId(`round-${side}`), { words: () => `Prediction of round ${byId(`pick-${side}`).value}` }),
);

function goTo(cursor, y) {
  setCursor(cursor);
  const d = depth() - 1 - floor(y, depth());
  if (d !== desk.d) tell("go", d);
}

function showPlanes() {
  const [, rows, columns] = desk.scan.shape;
  const layers = ["outline", "prediction"];
  const [y, x] = [floor(desk.cursor.y, rows), floor(desk.cursor.x, columns)];
  planes[0].show({ axis: 1, index: y, round: desk.round, layers, title: `row ${y}` });
  planes[1].show({ axis: 2, index: x, round: desk.round, layers, title: `column ${x}` });
}

function fillPickers() {
  const there = doneRounds();
  ["a", "b"].forEach((side, i) => {
    const pick = byId(`pick-${side}`);
    const was = pick.value;
    pick.replaceChildren(...there.map((n) => element("option", { value: n }, `Round ${n}`)));
    const otherwise = there.at(i === 0 ? -2 : -1) ?? there[0];
    pick.value = there.includes(Number(was)) ? was : String(otherwise ?? "");
  });
  byId("rounds-few").hidden = there.length > 1;
  return there;
}

function showSides() {
  const there = fillPickers();
  if (!there.length) return;
  sides.forEach((pane, i) => {
    const round = Number(byId(`pick-${i ? "b" : "a"}`).value);
    const title = `round ${round}, slice ${shown(desk.d)}`;
    pane.show({ axis: 0, index: desk.d, round, layers: ["prediction"], title });
  });
}

let queued = false;
export function refresh() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    if (!desk.scan || !hand.image) return;
    if (desk.view === "planes") showPlanes();
    if (desk.view === "rounds") showSides();
  });
}

export function show(view) {
  byId("stage").dataset.view = view;
  change({ view });
  refresh();
  tell("view", view);
}

export function setUp() {
  for (const side of ["a", "b"]) byId(`pick-${side}`).addEventListener("input", refresh);
  for (const name of ["slice", "look", "cursor"]) on(name, refresh);
  // What was drawn shows in the other planes once the server has it.
  for (const name of ["acknowledged", "settled"]) {
    on(name, () => {
      planes.forEach((pane) => pane.forget());
      refresh();
    });
  }
}
