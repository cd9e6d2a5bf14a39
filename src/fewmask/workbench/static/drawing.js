// What a person does to the slice in hand: begin, finish, undo. Each finished step is saved at once.
import { desk, note, shown, tell } from "./desk.js";
import * as saving from "./saving.js";
import * as seconds from "./seconds.js";
import { dropCuts, hand, outline, peekOutline, setOutline } from "./slices.js";
import * as tools from "./tools.js";

const MOST_STEPS = 500;
let done = [];
let undone = [];

/** The map that tools draw on; null until the slice is here, with what is predicted for it. */
export const map = () =>
  hand.outline && hand.image && hand.predicted
    ? { mask: hand.outline.mask, columns: hand.image.columns, rows: hand.image.rows }
    : null;

let step = null;

/**
 * Begin a step. On a slice that no person touched, with a prediction in sight, the drawing begins from the
 * prediction: a correction, not a new start.
 */
export function begin({ fromPrediction = true } = {}) {
  const drawn = map();
  if (!drawn || step) return null;
  step = { before: drawn.mask.slice(), state: hand.outline.state };
  const seen = desk.predictions && hand.prediction?.some((v) => v);
  if (fromPrediction && hand.outline.state === "untouched" && seen) {
    drawn.mask.set(hand.prediction);
    note("Begun from the prediction: this slice is yours now.");
  }
  return drawn;
}

export const drawing = () => step !== null;

/** Give up the step in hand: the slice is as before. */
export function cancel() {
  if (!step) return;
  hand.outline.mask.set(step.before);
  step = null;
  tell("drawn");
}

/** End the step: keep it for undo, and save the whole slice. */
export function finish(state = null) {
  if (!step) return false;
  const { before, state: was } = step;
  step = null;
  const holds = hand.outline.mask.some((v) => v);
  const now = state ?? (holds ? "outlined" : "empty");
  const changed = tools.difference(before, hand.outline.mask, hand.image.columns);
  // An eraser that found nothing to erase says nothing of the slice.
  if (!changed && (state === null || now === was)) return false;
  if (!state && !holds) note('Nothing is left in this slice: it counts as "nothing here".');
  done.push({ id: hand.id, d: hand.d, columns: hand.image.columns, changed, was, now });
  if (done.length > MOST_STEPS) done.shift();
  undone = [];
  keep(now);
  return true;
}

function markState(d, state) {
  if (state === "untouched") desk.scan.slices.delete(String(d));
  else desk.scan.slices.set(String(d), state);
}

function keep(state) {
  const { id, d } = hand;
  hand.outline.state = state;
  markState(d, state);
  dropCuts(id);
  saving.save({
    id,
    d,
    shown: shown(d),
    name: desk.scan.name,
    mask: hand.outline.mask,
    state,
    revision: hand.outline.revision,
    seconds: seconds.take(id, d),
  });
  tell("drawn");
  tell("marks");
}

export const canUndo = () => done.length > 0;
export const canRedo = () => undone.length > 0;

async function retrace(from, to, forward, go) {
  if (step) return cancel();
  const last = from.pop();
  if (!last) return note(forward ? "Nothing to do again." : "Nothing to undo.");
  await go(last.id, last.d);
  if (hand.id !== last.id || hand.d !== last.d) return from.push(last);
  hand.outline ??= await outline(desk.scan, last.d);
  if (last.changed) {
    const held = forward ? last.changed.after : last.changed.before;
    tools.paste(hand.outline.mask, last.columns, last.changed, held);
  }
  to.push(last);
  keep(forward ? last.now : last.was);
  return null;
}

/** Undo the last step of this session, on whichever slice it was; `go(id, d)` opens that slice. */
export const undo = (go) => retrace(done, undone, false, go);
export const redo = (go) => retrace(undone, done, true, go);

/** One whole step: `draw(map)` between begin and finish. */
export function act(draw, { state = null, fromPrediction = true } = {}) {
  const drawn = begin({ fromPrediction });
  if (!drawn) return false;
  if (draw(drawn) === false) {
    cancel();
    return false;
  }
  return finish(state);
}

export function nothingHere() {
  act((drawn) => drawn.mask.fill(0), { state: "empty", fromPrediction: false });
  note("Nothing here: no structure is in this slice.");
}

export function clear() {
  act((drawn) => drawn.mask.fill(0), { state: "untouched", fromPrediction: false });
  note("Cleared: of this slice nothing is known.");
}

export function takePrediction() {
  if (!hand.prediction) return note("There is no prediction for this slice.");
  const state = hand.prediction.some((v) => v) ? "outlined" : "empty";
  act((drawn) => drawn.mask.set(hand.prediction), { state, fromPrediction: false });
  return note("The prediction is now your outline of this slice.");
}

/** The server acknowledged, or a conflict was settled: the slice goes on from that revision. */
export function adopt({ id, d, revision, state, mask }) {
  const here = hand.id === id && hand.d === d && hand.outline;
  const what = here || peekOutline(id, d);
  if (what && mask && mask.length !== what.mask.length) return;
  if (what && mask) what.mask.set(mask);
  if (what) Object.assign(what, { revision, ...(mask ? { state } : {}) });
  else if (mask) setOutline(id, d, { mask: mask.slice(), revision, state });
  if (mask && desk.scan?.id === id) markState(d, state);
  if (mask) {
    dropCuts(id);
    tell("drawn");
    tell("marks");
  }
}
