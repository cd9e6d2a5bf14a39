// SAM's help: a box or clicks become a proposal, which the person takes or drops. Nothing waits for it.
import * as api from "./api.js";
import { complain, depth, desk, note, structure, tell } from "./desk.js";
import * as drawing from "./drawing.js";
import { hand, isInHand } from "./slices.js";
import * as tools from "./tools.js";

const AGAIN_MS = 300;

/** The proposal in sight: prompts, SAM's mask (null while it works), and the structure it is for. */
export let proposal = null;
let asking = null;

const start = (fit = null) => {
  proposal = { id: hand.id, d: hand.d, value: desk.value, boxes: [], points: [], mask: null, score: null, fit };
};

export const reading = () => asking !== null && proposal?.reading === true;

export function drop() {
  asking?.abort();
  asking = null;
  const was = proposal;
  proposal = null;
  if (was) tell("proposal");
  return was !== null;
}

/** Make the proposal part of the outline; true if there was one with a mask. */
export function accept() {
  const found = proposal;
  if (!found) return false;
  if (!found.mask || !isInHand(found.id, found.d)) return drop() && false;
  drop();
  // A person's own drawing is added to; a prediction is replaced where SAM looked.
  const untouched = hand.outline?.state === "untouched";
  const put = found.fit ? tools.replace : untouched ? tools.replaceParts : tools.lay;
  drawing.act((drawn) => put(drawn, found.mask, found.value));
  return true;
}

export function box(from, to) {
  accept();
  start();
  proposal.boxes.push([
    Math.min(from.x, to.x),
    Math.min(from.y, to.y),
    Math.max(from.x, to.x),
    Math.max(from.y, to.y),
  ]);
  ask();
}

export function point({ x, y }, inside) {
  const sameSlice = proposal && isInHand(proposal.id, proposal.d) && !proposal.fit;
  if (!sameSlice || proposal.value !== desk.value) {
    accept();
    start();
  }
  if (proposal.points.length >= desk.session.limits.points) {
    return note(`SAM takes at most ${desk.session.limits.points} points.`);
  }
  proposal.points.push([x, y, inside ? 1 : 0]);
  return ask();
}

const pause = (ms, signal) =>
  new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(new DOMException("dropped", "AbortError"));
    });
  });

async function ask() {
  const mine = proposal;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const sent = mine.fit ?? { boxes: mine.boxes, points: mine.points };
  const size = hand.image.columns * hand.image.rows;
  tell("proposal");
  try {
    for (;;) {
      const answer = await api.sam(mine.id, mine.d, sent, size, signal, mine.fit ? "/fit" : "");
      if (proposal !== mine) return;
      if (answer) {
        const nothing = !answer.mask.some((v) => v);
        Object.assign(mine, nothing ? { mask: null } : answer, { reading: false, nothing });
        break;
      }
      mine.reading = true;
      tell("proposal");
      await pause(AGAIN_MS, signal);
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    complain(error);
    if (proposal === mine && !mine.mask) proposal = null;
  }
  if (asking?.signal === signal) asking = null;
  tell("proposal");
}

/** Carry the structure of the slice in hand to the next one and let SAM fit it there. */
export async function copyToNext(go) {
  accept();
  if (!hand.outline?.mask.includes(desk.value)) {
    return note(`There is no outline of ${structure().name} in this slice to copy.`);
  }
  const from = hand.d;
  const step = desk.scan.flipped ? -1 : 1;
  const to = from + step;
  if (to < 0 || to >= depth()) return note("This is the last slice.");
  await go(desk.scan.id, to);
  if (hand.d !== to || !hand.image) return null;
  start({ from, class: desk.value });
  return ask();
}
