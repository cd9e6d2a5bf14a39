// Drawing on a label map (uint8, rows of `columns`). Positions are in pixels from the map's corner, so that
// pixel (x, y) spans x to x + 1 and its middle is x + 0.5. Nothing here knows of the page.

/** Set to `value` all pixels whose middle lies in an ellipse; the pixel under its middle always. */
export function disc(map, x, y, rx, ry, value) {
  const { mask, columns, rows } = map;
  const top = Math.max(0, Math.floor(y - ry));
  const bottom = Math.min(rows - 1, Math.ceil(y + ry));
  for (let row = top; row <= bottom; row += 1) {
    const dy = (row + 0.5 - y) / ry;
    const reach = 1 - dy * dy;
    if (reach < 0) continue;
    const half = Math.sqrt(reach) * rx;
    const from = Math.max(0, Math.ceil(x - half - 0.5));
    const to = Math.min(columns - 1, Math.floor(x + half - 0.5));
    for (let column = from; column <= to; column += 1) mask[row * columns + column] = value;
  }
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column >= 0 && column < columns && row >= 0 && row < rows) mask[row * columns + column] = value;
}

/** Discs close enough along a line to leave no gap. */
export function line(map, from, to, rx, ry, value) {
  const length = Math.hypot((to.x - from.x) / rx, (to.y - from.y) / ry);
  const steps = Math.max(1, Math.ceil(length * 3));
  for (let step = 0; step <= steps; step += 1) {
    const part = step / steps;
    disc(map, from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part, rx, ry, value);
  }
}

/** Fill a closed polygon: pixels whose middle lies inside (crossings counted, odd is inside). */
export function polygon(map, points, value) {
  const { mask, columns, rows } = map;
  const ys = points.map((p) => p.y);
  const top = Math.max(0, Math.floor(Math.min(...ys)));
  const bottom = Math.min(rows - 1, Math.ceil(Math.max(...ys)));
  for (let row = top; row <= bottom; row += 1) {
    const crossings = crossingsAt(points, row + 0.5);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.max(0, Math.ceil(crossings[i] - 0.5));
      const to = Math.min(columns - 1, Math.floor(crossings[i + 1] - 0.5));
      for (let column = from; column <= to; column += 1) mask[row * columns + column] = value;
    }
  }
}

function crossingsAt(points, y) {
  const found = [];
  for (let i = 0; i < points.length; i += 1) {
    const [a, b] = [points[i], points[(i + 1) % points.length]];
    if (a.y <= y !== b.y <= y) found.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
  }
  return found.sort((a, b) => a - b);
}

/** Fill the closed gap at a pixel; false, and nothing changed, where the gap reaches the picture's border. */
export function flood(map, column, row, value) {
  const { mask, columns, rows } = map;
  const start = row * columns + column;
  const old = mask[start];
  if (old === value) return false;
  const seen = new Uint8Array(mask.length);
  const stack = [start];
  const region = [];
  seen[start] = 1;
  while (stack.length) {
    const pixel = stack.pop();
    region.push(pixel);
    const x = pixel % columns;
    const y = (pixel - x) / columns;
    if (old === 0 && (x === 0 || y === 0 || x === columns - 1 || y === rows - 1)) return false;
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      const [nx, ny] = [x + dx, y + dy];
      if (nx < 0 || ny < 0 || nx >= columns || ny >= rows) continue;
      const next = ny * columns + nx;
      if (!seen[next] && mask[next] === old) {
        seen[next] = 1;
        stack.push(next);
      }
    }
  }
  for (const pixel of region) mask[pixel] = value;
  return true;
}

/** Lay a found mask (0, 1) into the map as `value`; pixels of other structures stay. */
export function lay(map, found, value) {
  for (let i = 0; i < found.length; i += 1) {
    if (found[i] && map.mask[i] === 0) map.mask[i] = value;
  }
}

/** The same, but the structure becomes what was found and nothing else. */
export function replace(map, found, value) {
  for (let i = 0; i < found.length; i += 1) if (map.mask[i] === value) map.mask[i] = 0;
  lay(map, found, value);
}

/** The same, but of the structure's parts only those that touch what was found are replaced. */
export function replaceParts(map, found, value) {
  const { mask, columns } = map;
  const stack = [];
  for (let i = 0; i < found.length; i += 1) if (found[i] && mask[i] === value) stack.push(i);
  while (stack.length) {
    const pixel = stack.pop();
    if (mask[pixel] !== value) continue;
    mask[pixel] = 0;
    const x = pixel % columns;
    if (x > 0) stack.push(pixel - 1);
    if (x < columns - 1) stack.push(pixel + 1);
    stack.push(pixel - columns, pixel + columns); // past the map there is nothing that equals `value`
  }
  lay(map, found, value);
}

/** Both drawings in one: `mine` where it holds a structure, otherwise `theirs`. */
export const join = (mine, theirs) => mine.map((value, i) => value || theirs[i]);

/** The smallest rectangle in which two maps differ, with what it held before and after; null if none. */
export function difference(before, after, columns) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -1, -1];
  for (let i = 0; i < before.length; i += 1) {
    if (before[i] === after[i]) continue;
    const x = i % columns;
    const y = (i - x) / columns;
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    if (y > y1) y1 = y;
  }
  if (x1 < 0) return null;
  const box = { x0, y0, x1, y1 };
  return { ...box, before: cut(before, columns, box), after: cut(after, columns, box) };
}

function cut(mask, columns, { x0, y0, x1, y1 }) {
  const width = x1 - x0 + 1;
  const out = new Uint8Array(width * (y1 - y0 + 1));
  for (let y = y0; y <= y1; y += 1) {
    out.set(mask.subarray(y * columns + x0, y * columns + x1 + 1), (y - y0) * width);
  }
  return out;
}

export function paste(mask, columns, { x0, y0, x1, y1 }, held) {
  const width = x1 - x0 + 1;
  for (let y = y0; y <= y1; y += 1) {
    mask.set(held.subarray((y - y0) * width, (y - y0 + 1) * width), y * columns + x0);
  }
}
