// The strip under the slice: which slices are outlined, empty, tagged, predicted, and where we are.
import { depth, desk, on, shown, structure, tagOf, tell } from "./desk.js";
import { byId } from "./element.js";
import { sharpen } from "./picture.js";

const slider = byId("slider");
const strip = byId("strip");

/** The slider runs in the order of the shown numbers, whichever way the file lies. */
export const toStep = (d) => (desk.scan.flipped ? depth() - 1 - d : d);
export const toSlice = toStep;

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw() {
  const { ctx, width, height } = sharpen(strip);
  ctx.clearRect(0, 0, width, height);
  if (!desk.scan?.shape) return;
  const all = depth();
  // The thumb's middle runs from half a thumb to width minus half a thumb: marks lie under it.
  const thumb = 16;
  const wide = (width - thumb) / Math.max(1, all - 1);
  const x = (d) => thumb / 2 + toStep(d) * wide;
  const bar = (d0, d1, top, high, colour) => {
    const [a, b] = [Math.min(x(d0), x(d1)), Math.max(x(d0), x(d1))];
    ctx.fillStyle = colour;
    ctx.fillRect(a - Math.max(1, wide / 2), top, b - a + Math.max(2, wide), high);
  };
  const extent = desk.scan.extents?.get(structure().name);
  if (extent) {
    ctx.globalAlpha = 0.35;
    bar(extent[0], extent[1], 9, 4, structure().colour);
    ctx.globalAlpha = 1;
  }
  for (const [d, state] of desk.scan.slices) {
    if (state === "outlined") bar(Number(d), Number(d), 2, 11, ink("--accent"));
    if (state === "empty") {
      bar(Number(d), Number(d), 2, 11, ink("--muted"));
      bar(Number(d), Number(d), 4, 7, ink("--surface"));
    }
  }
  const tag = tagOf(desk.scan, structure());
  if (Array.isArray(tag)) {
    ctx.fillStyle = ink("--text");
    for (const [i, d] of tag.entries()) if (d !== null) flagAt(ctx, x(d), (i === 0) !== desk.scan.flipped);
  }
}

// A tagged end: a small bracket that opens to the side on which the structure lies.
function flagAt(ctx, x, opensRight) {
  ctx.fillRect(x - 1, 0, 2, 15);
  ctx.fillRect(opensRight ? x : x - 5, 0, 5, 2);
  ctx.fillRect(opensRight ? x : x - 5, 13, 5, 2);
}

export function render() {
  slider.disabled = !desk.scan;
  if (desk.scan) {
    slider.max = String(depth() - 1);
    slider.value = String(toStep(desk.d));
    slider.setAttribute("aria-valuetext", `slice ${shown(desk.d)}`);
    byId("slice-number").textContent = `${shown(desk.d)}`;
  }
  draw();
}

slider.addEventListener("input", () => tell("go", toSlice(Number(slider.value))));
new ResizeObserver(draw).observe(strip);
for (const name of ["opened", "slice", "marks", "look", "tags"]) on(name, render);
