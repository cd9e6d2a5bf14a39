// Seconds of active work on each slice: counted while the page is in sight and used in the last 30 s.
import { desk } from "./desk.js";

const IDLE_MS = 30000;
const TICK_MS = 1000;
const spent = new Map();
let lastUse = 0;

for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"]) {
  addEventListener(kind, () => (lastUse = performance.now()), { passive: true, capture: true });
}

setInterval(() => {
  if (document.hidden || !desk.scan || performance.now() - lastUse > IDLE_MS) return;
  const key = `${desk.scan.id}/${desk.d}`;
  spent.set(key, (spent.get(key) ?? 0) + TICK_MS / 1000);
}, TICK_MS);

/** Seconds on this slice since they were last taken. */
export function take(id, d) {
  const key = `${id}/${d}`;
  const seconds = spent.get(key) ?? 0;
  spent.delete(key);
  return seconds;
}
