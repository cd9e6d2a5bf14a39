// A simple 3D view without WebGL: surface points drawn as small discs into a depth buffer with their normals,
// which are smoothed and shaded after. 60,000 points take some tens of milliseconds.
import * as api from "./api.js";
import { complain, desk, on } from "./desk.js";
import { byId } from "./element.js";

const canvas = byId("solid");
const MOST_PIXELS = 640; // along the shorter side
const MOST_TURNING = 300; // while it turns: a quick picture, a fine one as soon as it rests
let clouds = []; // { points, normals, count, rgb }
let turn = { yaw: 0.5, pitch: 0.15 };
let zoom = 1;
let loaded = "";
let queued = false;
let resting = 0;
let turning = false;

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** Rotation as rows: x to the right, y down, z away from the eye; the scan's z points up. */
function rotation({ yaw, pitch }) {
  const [c, s] = [Math.cos(yaw), Math.sin(yaw)];
  const [cp, sp] = [Math.cos(pitch), Math.sin(pitch)];
  return [c, s, 0, -s * sp, c * sp, -cp, -s * cp, c * cp, sp];
}

const reach = () => {
  let most = 1;
  for (const { points } of clouds) for (const v of points) if (Math.abs(v) > most) most = Math.abs(v);
  return most * 1.25;
};

function draw() {
  queued = false;
  const ratio = devicePixelRatio || 1;
  const side = Math.min(canvas.clientWidth, canvas.clientHeight) * ratio;
  const shrink = Math.min(1, (turning ? MOST_TURNING : MOST_PIXELS) / side) * ratio;
  const width = Math.round(canvas.clientWidth * shrink) || 1;
  const height = Math.round(canvas.clientHeight * shrink) || 1;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const started = performance.now();
  const ctx = canvas.getContext("2d");
  const pixels = ctx.createImageData(width, height);
  shade(new Uint32Array(pixels.data.buffer), splat(width, height), width, height);
  ctx.putImageData(pixels, 0, 0);
  canvas.dataset.ms = (performance.now() - started).toFixed(1);
}

/** Where each pixel's nearest point is, which structure, and its normal (turned towards the eye). */
function splat(width, height) {
  const size = width * height;
  const nearest = new Float32Array(size).fill(Infinity);
  const normal = [0, 1, 2].map(() => new Float32Array(size));
  const which = new Uint8Array(size); // 0: nothing, else 1 + index of the structure
  const m = rotation(turn);
  const far = reach();
  const scale = (Math.min(width, height) / 2 / far) * zoom;
  clouds.forEach(({ points, normals, count, spacing }, cloud) => {
    const radius = Math.max(1, (spacing * scale) / 2);
    const half = Math.ceil(radius);
    const disc = discOf(radius, half, width);
    for (let i = 0; i < count * 3; i += 3) {
      const [nx, ny, nz] = [normals[i], normals[i + 1], normals[i + 2]];
      const towards = m[6] * nx + m[7] * ny + m[8] * nz;
      if (towards > 0.35) continue; // it faces away
      const [x, y, z] = [points[i], points[i + 1], points[i + 2]];
      const column = (width / 2 + (m[0] * x + m[1] * y + m[2] * z) * scale) | 0;
      const row = (height / 2 + (m[3] * x + m[4] * y + m[5] * z) * scale) | 0;
      if (column < half || row < half || column >= width - half || row >= height - half) continue;
      const away = m[6] * x + m[7] * y + m[8] * z;
      const right = m[0] * nx + m[1] * ny + m[2] * nz;
      const down = m[3] * nx + m[4] * ny + m[5] * nz;
      const middle = row * width + column;
      for (const step of disc) {
        const at = middle + step;
        if (away >= nearest[at]) continue;
        nearest[at] = away;
        which[at] = cloud + 1;
        normal[0][at] = right;
        normal[1][at] = down;
        normal[2][at] = towards;
      }
    }
  });
  return { nearest, normal, which, far, blur: Math.max(1, Math.round(scale * 3.5)) };
}

function discOf(radius, half, width) {
  const steps = [];
  for (let v = -half; v <= half; v += 1) {
    for (let u = -half; u <= half; u += 1) if (u * u + v * v <= radius * radius + 0.5) steps.push(v * width + u);
  }
  return steps;
}

/** A running mean along rows, then along columns: hides that normals of voxels come in few directions. */
function smooth(values, width, height, reach) {
  const pass = (from, to, lines, length, lineStep, step) => {
    for (let line = 0; line < lines; line += 1) {
      const start = line * lineStep;
      let sum = 0;
      for (let i = 0; i < length + reach; i += 1) {
        if (i < length) sum += from[start + i * step];
        const gone = i - 2 * reach - 1;
        if (gone >= 0) sum -= from[start + gone * step];
        const at = i - reach;
        if (at >= 0) to[start + at * step] = sum;
      }
    }
  };
  const between = new Float32Array(values.length);
  pass(values, between, height, width, width, 1);
  pass(between, values, width, height, 1, width);
}

function shade(out, { nearest, normal, which, far, blur }, width, height) {
  for (const part of normal) smooth(part, width, height, blur);
  for (let i = 0; i < out.length; i += 1) {
    if (which[i] === 0) {
      out[i] = 0xff0b0907;
      continue;
    }
    out[i] = inkOf(normal[0][i], normal[1][i], normal[2][i], nearest[i] / far, clouds[which[i] - 1].rgb);
  }
}

/** Light from the upper left behind the eye, a little dimmer with depth. */
function inkOf(x, y, towards, depth, [r, g, b]) {
  const length = Math.hypot(x, y, towards) || 1;
  const light = Math.max(0, (-towards * 0.74 - x * 0.4 - y * 0.54) / length);
  const level = (0.3 + 0.7 * light) * (1 - 0.3 * Math.max(-1, Math.min(1, depth)));
  const shine = 40 * light ** 24;
  const lit = (v) => Math.min(255, v * level + shine) | 0;
  return (0xff000000 | (lit(b) << 16) | (lit(g) << 8) | lit(r)) >>> 0;
}

function redraw() {
  if (queued || desk.view !== "solid") return;
  queued = true;
  requestAnimationFrame(draw);
}

/** Points lie about this far apart (mm): from their number and the size of the box around them. */
function spacingOf(points, count) {
  if (!count) return 1;
  const span = [0, 1, 2].map((axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (let i = axis; i < points.length; i += 3) {
      low = Math.min(low, points[i]);
      high = Math.max(high, points[i]);
    }
    return Math.max(1, high - low);
  });
  const area = 2 * (span[0] * span[1] + span[1] * span[2] + span[0] * span[2]) * 0.7;
  return Math.max(Math.sqrt(area / count) * 1.3, Math.max(...desk.scan.spacing_mm) * 1.35);
}

export async function show() {
  const { scan } = desk;
  if (!scan) return;
  const layer = byId("solid-layer").value;
  const key = JSON.stringify([scan.id, layer, desk.round, layer === "outline" ? Date.now() : 0]);
  if (key === loaded) return redraw();
  byId("solid-words").textContent = "Reading the surfaces...";
  try {
    const found = await Promise.all(
      desk.session.classes.map(async (one) => {
        const cloud = await surfaceOf(scan.id, layer, one.value);
        return { ...cloud, rgb: rgb(one.colour), spacing: spacingOf(cloud.points, cloud.count) };
      }),
    );
    clouds = found;
    loaded = key;
  } catch (error) {
    clouds = [];
    complain(error);
  }
  const empty = clouds.every((one) => one.count === 0);
  byId("solid-words").textContent = empty ? "There is nothing to show: no " + layer + " in this scan yet." : "";
  redraw();
}

async function surfaceOf(id, layer, value) {
  const none = { count: 0, points: new Float32Array(0), normals: new Float32Array(0) };
  if (layer === "prediction" && desk.round === null) return none;
  try {
    return await api.surface(id, layer, value, layer === "prediction" ? desk.round : null);
  } catch (error) {
    if (error instanceof api.Refused && error.status === 404) return none;
    throw error;
  }
}

function redrawMoving() {
  turning = true;
  clearTimeout(resting);
  resting = setTimeout(() => {
    turning = false;
    redraw();
  }, 200);
  redraw();
}

function rotate(yaw, pitch) {
  turn = { yaw: turn.yaw + yaw, pitch: Math.max(-1.5, Math.min(1.5, turn.pitch + pitch)) };
  redrawMoving();
}

const KEYS = {
  ArrowLeft: () => rotate(-0.12, 0),
  ArrowRight: () => rotate(0.12, 0),
  ArrowUp: () => rotate(0, -0.12),
  ArrowDown: () => rotate(0, 0.12),
  "+": () => enlarge(1.15),
  "=": () => enlarge(1.15),
  "-": () => enlarge(1 / 1.15),
};

function enlarge(factor) {
  zoom = Math.max(0.3, Math.min(6, zoom * factor));
  redrawMoving();
}

export function setUp() {
  byId("solid-layer").addEventListener("input", show);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) rotate(event.movementX / 120, event.movementY / 120);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      enlarge(Math.exp(-event.deltaY / 500));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    KEYS[event.key]();
  });
  new ResizeObserver(redraw).observe(canvas);
  on("view", (view) => view === "solid" && show());
  for (const name of ["opened", "round-shown"]) on(name, () => desk.view === "solid" && show());
}
