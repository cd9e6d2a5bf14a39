// Turns numbers into pictures: grey levels through a window, masks as fill and contour, letters and scale.

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function canvasOf(columns, rows) {
  const canvas = new OffscreenCanvas(columns, rows);
  return { canvas, ctx: canvas.getContext("2d") };
}

/** Grey levels (raw * scale + offset, between low and high) as an OffscreenCanvas of the slice's size. */
export function windowed(image, { scale, offset }, { low, high }) {
  const { canvas, ctx } = canvasOf(image.columns, image.rows);
  const pixels = ctx.createImageData(image.columns, image.rows);
  const out = new Uint32Array(pixels.data.buffer);
  const gain = (255 / Math.max(1e-9, high - low)) * scale;
  const shift = ((offset - low) * 255) / Math.max(1e-9, high - low);
  const { data } = image;
  for (let i = 0; i < out.length; i += 1) {
    const grey = data[i] * gain + shift;
    const v = grey < 0 ? 0 : grey > 255 ? 255 : grey | 0;
    out[i] = 0xff000000 | (v << 16) | (v << 8) | v;
  }
  ctx.putImageData(pixels, 0, 0);
  return canvas;
}

/** A label map as translucent colours; `alpha` 0 to 1. */
export function tinted(mask, columns, rows, classes, alpha) {
  const { canvas, ctx } = canvasOf(columns, rows);
  const pixels = ctx.createImageData(columns, rows);
  const out = new Uint32Array(pixels.data.buffer);
  const tints = new Uint32Array(256);
  for (const one of classes) {
    const [r, g, b] = rgb(one.colour);
    tints[one.value] = ((Math.round(alpha * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
  for (let i = 0; i < out.length; i += 1) if (mask[i]) out[i] = tints[mask[i]];
  ctx.putImageData(pixels, 0, 0);
  return canvas;
}

/** The edges of the pixels that hold `value`, as a path in pixels; straight runs are one line. */
export function contour(mask, columns, rows, value) {
  const path = new Path2D();
  const is = (x, y) => x >= 0 && y >= 0 && x < columns && y < rows && mask[y * columns + x] === value;
  const box = boundsOf(mask, columns, value);
  if (!box) return path;
  for (let y = box.y0; y <= box.y1 + 1; y += 1) {
    runs(path, box.x0, box.x1, (x) => is(x, y) !== is(x, y - 1), (a, b) => [a, y, b, y]);
  }
  for (let x = box.x0; x <= box.x1 + 1; x += 1) {
    runs(path, box.y0, box.y1, (y) => is(x, y) !== is(x - 1, y), (a, b) => [x, a, x, b]);
  }
  return path;
}

function boundsOf(mask, columns, value) {
  let [x0, y0, x1, y1] = [Infinity, -1, -1, -1];
  for (let i = mask.indexOf(value); i >= 0; i = mask.indexOf(value, i + 1)) {
    const x = i % columns;
    const y = (i - x) / columns;
    if (y0 < 0) y0 = y;
    y1 = y;
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
  }
  return x1 < 0 ? null : { x0, y0, x1, y1 };
}

function runs(path, from, to, isEdge, ends) {
  let start = -1;
  for (let i = from; i <= to + 1; i += 1) {
    const edge = i <= to && isEdge(i);
    if (edge && start < 0) start = i;
    if (!edge && start >= 0) {
      const [x0, y0, x1, y1] = ends(start, i);
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
      start = -1;
    }
  }
}

/** What a label map looks like, made once and drawn often: contours by structure and one tint. */
export function look(mask, columns, rows, classes) {
  const present = classes.filter((one) => mask.includes(one.value));
  return {
    contours: present.map((one) => ({ one, path: contour(mask, columns, rows, one.value) })),
    tint: present.length ? tinted(mask, columns, rows, present, 1) : null,
  };
}

/** Where a slice lies on a canvas: `scale` screen pixels a millimetre, its corner at (x, y). */
export class Place {
  constructor() {
    Object.assign(this, { x: 0, y: 0, scale: 1, columnMm: 1, rowMm: 1, columns: 1, rows: 1 });
  }

  fit(image, width, height, margin = 28) {
    const { columns, rows, columnMm, rowMm } = image;
    Object.assign(this, { columns, rows, columnMm, rowMm });
    const [w, h] = [columns * columnMm, rows * rowMm];
    const room = (all) => Math.max(16, all - 2 * margin);
    this.scale = Math.min(room(width) / w, room(height) / h);
    this.x = (width - w * this.scale) / 2;
    this.y = (height - h * this.scale) / 2;
    return this;
  }

  zoom(factor, x, y) {
    const scale = Math.min(80, Math.max(0.05, this.scale * factor));
    const by = scale / this.scale;
    this.x = x - (x - this.x) * by;
    this.y = y - (y - this.y) * by;
    this.scale = scale;
  }

  get sx() {
    return this.columnMm * this.scale;
  }

  get sy() {
    return this.rowMm * this.scale;
  }

  toSlice(x, y) {
    return { x: (x - this.x) / this.sx, y: (y - this.y) / this.sy };
  }

  toScreen({ x, y }) {
    return { x: this.x + x * this.sx, y: this.y + y * this.sy };
  }

  path(path) {
    const out = new Path2D();
    out.addPath(path, new DOMMatrix([this.sx, 0, 0, this.sy, this.x, this.y]));
    return out;
  }
}

export function drawGrey(ctx, grey, place) {
  ctx.imageSmoothingEnabled = place.sx < 12; // close up, pixels are shown as they are
  ctx.imageSmoothingQuality = "medium"; // "high" takes several times as long without a GPU
  ctx.drawImage(grey, place.x, place.y, grey.width * place.sx, grey.height * place.sy);
}

/** Draw a look: solid for a person's outline, dashed and lighter for a prediction. */
export function drawLook(ctx, { tint, contours }, place, { alpha, filled, dashed = false, width = 1.75 }) {
  if (filled && tint) {
    ctx.globalAlpha = alpha;
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(tint, place.x, place.y, tint.width * place.sx, tint.height * place.sy);
  }
  ctx.globalAlpha = 1;
  ctx.setLineDash(dashed ? [5, 4] : []);
  ctx.lineCap = dashed ? "butt" : "square"; // closes the corners between straight runs
  for (const { one, path } of contours) {
    const onScreen = place.path(path);
    ctx.strokeStyle = "rgb(0 0 0 / 40%)";
    ctx.lineWidth = width + 1.25;
    if (!dashed) ctx.stroke(onScreen);
    ctx.strokeStyle = one.colour;
    ctx.lineWidth = width;
    ctx.stroke(onScreen);
  }
  ctx.setLineDash([]);
  ctx.lineCap = "butt";
}

const shadowed = (ctx, words, x, y) => {
  ctx.lineWidth = 3;
  ctx.strokeStyle = "rgb(0 0 0 / 75%)";
  ctx.strokeText(words, x, y);
  ctx.fillText(words, x, y);
};

export const font = (size, weight = 500) => `${weight} ${size}px system-ui, sans-serif`;

/** R, L, A, P at the edges: left, right, top, bottom. */
export function drawEdges(ctx, edges, width, height) {
  if (!edges) return;
  ctx.fillStyle = "#e8edf2";
  ctx.font = font(13, 600);
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  shadowed(ctx, edges[0], 10, height / 2);
  ctx.textAlign = "right";
  shadowed(ctx, edges[1], width - 10, height / 2);
  ctx.textAlign = "center";
  shadowed(ctx, edges[2], width / 2, 14);
  shadowed(ctx, edges[3], width / 2, height - 12);
}

const ROUND_MM = [1, 2, 5, 10, 20, 50, 100, 200];

export function drawScale(ctx, place, width, height) {
  const mm = ROUND_MM.filter((one) => one * place.scale <= width / 5).pop() ?? 1;
  const length = mm * place.scale;
  const [x, y] = [width - 18 - length, height - 16];
  for (const [style, thick] of [["rgb(0 0 0 / 70%)", 4], ["#e8edf2", 2]]) {
    ctx.strokeStyle = style;
    ctx.lineWidth = thick;
    ctx.beginPath();
    ctx.moveTo(x, y - 5);
    ctx.lineTo(x, y);
    ctx.lineTo(x + length, y);
    ctx.lineTo(x + length, y - 5);
    ctx.stroke();
  }
  ctx.fillStyle = "#e8edf2";
  ctx.font = font(12);
  ctx.textAlign = "center";
  ctx.textBaseline = "bottom";
  shadowed(ctx, mm >= 10 ? `${mm / 10} cm` : `${mm} mm`, x + length / 2, y - 6);
}

export function drawWords(ctx, words, x, y, align = "left", size = 12) {
  ctx.fillStyle = "#e8edf2";
  ctx.font = font(size);
  ctx.textAlign = align;
  ctx.textBaseline = "top";
  shadowed(ctx, words, x, y);
}

/** A canvas with as many pixels as the screen has under it; gives the context in CSS pixels. */
export function sharpen(canvas) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.fillStyle = "#07090b";
  ctx.fillRect(0, 0, width, height);
  return { ctx, width, height };
}
