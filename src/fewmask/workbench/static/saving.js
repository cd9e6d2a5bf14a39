// Sends each changed slice, whole, until the server has it. One request at a time for each slice.
import * as api from "./api.js";
import { complain, desk, tell } from "./desk.js";
import * as store from "./store.js";

const WAITS = [500, 1000, 2000, 4000, 8000];
const waiting = new Map(); // key -> entry, oldest first
let sending = false;
let tries = 0;
let timer = 0;
let refused = "";

export const keyOf = (id, d) => `${desk.session.data}/${id}/${d}`;
export const unsaved = (id, d) => waiting.get(keyOf(id, d));
export const count = () => waiting.size;

/** What is drawn and not yet saved counts before the server's word on a scan. */
export function overlay(scan) {
  for (const { id, d, state } of waiting.values()) {
    if (id !== scan.id) continue;
    if (state === "untouched") scan.slices.delete(String(d));
    else scan.slices.set(String(d), state);
  }
}

function report() {
  const held = [...waiting.values()].some((entry) => entry.conflict);
  let state = "saved";
  if (waiting.size) state = held || refused ? "held" : tries ? "kept" : "saving";
  tell("saving", { state, count: waiting.size, refused });
}

/** Keep a slice in this browser, then send it. `revision` is the one that the drawing began from. */
export function save({ id, d, shown, name, mask, state, revision, seconds = 0 }) {
  const key = keyOf(id, d);
  const before = waiting.get(key);
  const entry = {
    key,
    folder: desk.session.data,
    id,
    d,
    shown,
    name,
    mask: mask.slice(),
    state,
    revision: before ? before.revision : revision,
    seconds: seconds + (before && !before.flying ? before.seconds : 0),
    stamp: performance.now(),
    conflict: before?.conflict ?? false,
    flying: before?.flying ?? false,
  };
  waiting.set(key, entry);
  refused = "";
  report();
  store.keep(entry).catch(() => {
    complain(new Error("This browser keeps nothing (private window?): leave the page open until it says saved."));
  });
  run();
}

const nextEntry = () => [...waiting.values()].find((entry) => !entry.conflict && !entry.refused);

export async function run() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let entry = nextEntry(); entry; entry = nextEntry()) await send(entry);
    tries = 0;
  } catch (error) {
    tries += 1;
    if (!(error instanceof api.Away || error instanceof api.Refused)) complain(error);
    timer = setTimeout(run, WAITS[Math.min(tries, WAITS.length) - 1]);
  } finally {
    sending = false;
    report();
  }
}

async function send(entry) {
  entry.flying = true;
  try {
    const answer = await api.putOutline(entry.id, entry.d, entry);
    await acknowledge(entry, answer);
  } catch (error) {
    entry.flying = false;
    const latest = waiting.get(entry.key) ?? entry;
    latest.flying = false;
    if (error instanceof api.Refused && error.status === 409) return conflict(latest);
    if (error instanceof api.Refused && error.status < 500 && error.status !== 429) {
      latest.refused = true;
      if (error.status === 401) store.release();
      refused = error.message;
      complain(error);
      return;
    }
    report();
    throw error;
  }
}

async function acknowledge(entry, answer) {
  tries = 0;
  const latest = waiting.get(entry.key);
  tell("acknowledged", { id: entry.id, d: entry.d, ...answer });
  if (latest && latest.stamp !== entry.stamp) {
    // Drawn on while this was on its way: what is newer goes on from the new revision.
    Object.assign(latest, { revision: answer.revision, flying: false });
    return;
  }
  waiting.delete(entry.key);
  report();
  await store.forget(entry.key).catch(() => {});
}

async function conflict(entry) {
  const theirs = await api.outline(entry.id, entry.d, entry.mask.length);
  if (theirs.state === entry.state && theirs.mask.every((v, i) => v === entry.mask[i])) {
    return settle(entry, theirs, null); // it had arrived, only the answer had not
  }
  entry.conflict = true;
  report();
  return tell("conflict", { entry, theirs });
}

/** The person has chosen: send `mask` on top of their revision, or take theirs (`mask` null). */
export async function settle(entry, theirs, mask) {
  const latest = waiting.get(entry.key) ?? entry;
  if (mask === null) {
    waiting.delete(entry.key);
    await store.forget(entry.key).catch(() => {});
    tell("settled", { id: entry.id, d: entry.d, ...theirs });
  } else {
    const state = mask.some((v) => v) ? "outlined" : latest.state;
    Object.assign(latest, { mask, state, revision: theirs.revision, conflict: false });
    waiting.set(entry.key, latest);
    tell("settled", { id: entry.id, d: entry.d, mask: mask.slice(), state, revision: theirs.revision });
  }
  report();
  run();
}

/** Send what an earlier tab left; each goes with the revision it began from, so nothing newer is lost. */
export function sendLeft(entries) {
  for (const entry of entries) {
    waiting.set(entry.key, { ...entry, conflict: false, refused: false, flying: false });
    store.keep(entry).catch(() => {});
  }
  report();
  run();
}

/** Try again what was refused: there is a new token. */
export function again() {
  for (const entry of waiting.values()) entry.refused = false;
  refused = "";
  run();
}

addEventListener("beforeunload", (event) => {
  if (waiting.size) event.preventDefault();
});
