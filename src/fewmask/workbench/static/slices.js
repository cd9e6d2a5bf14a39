// Slices that came from the server, kept while there is room, so that scrolling does not wait.
import * as api from "./api.js";
import { complain, desk, tell } from "./desk.js";
import * as saving from "./saving.js";

/** Keeps what was used last, up to `room` bytes; asks once for what several parts want at a time. */
class Shelf {
  constructor(room) {
    this.room = room;
    this.used = 0;
    this.here = new Map();
    this.coming = new Map();
  }

  peek(key) {
    const found = this.here.get(key);
    if (!found) return null;
    this.here.delete(key);
    this.here.set(key, found);
    return found.what;
  }

  put(key, what, bytes) {
    this.drop(key);
    this.here.set(key, { what, bytes });
    this.used += bytes;
    for (const oldest of this.here.keys()) {
      if (this.used <= this.room || oldest === key) break;
      this.drop(oldest);
    }
    return what;
  }

  drop(key) {
    this.used -= this.here.get(key)?.bytes ?? 0;
    this.here.delete(key);
  }

  dropAll(starts) {
    for (const key of [...this.here.keys()]) if (key.startsWith(starts)) this.drop(key);
  }

  async get(key, ask, size) {
    const found = this.peek(key);
    if (found) return found;
    if (!this.coming.has(key)) {
      const coming = ask()
        .then((what) => this.put(key, what, size(what)))
        .finally(() => this.coming.delete(key));
      this.coming.set(key, coming);
    }
    return this.coming.get(key);
  }
}

const images = new Shelf(160 * 2 ** 20);
const outlines = new Shelf(64 * 2 ** 20);
const masks = new Shelf(64 * 2 ** 20);
const at = (id, axis, index) => `${id}/${axis}/${index}`;

export const image = (id, axis, index) =>
  images.get(at(id, axis, index), () => api.image(id, axis, index), (one) => one.data.byteLength);

const sizeOf = (scan) => scan.shape[1] * scan.shape[2];

export const outline = (scan, d) =>
  outlines.get(
    at(scan.id, 0, d),
    async () => {
      const kept = saving.unsaved(scan.id, d);
      if (kept) return { mask: kept.mask.slice(), state: kept.state, revision: kept.revision };
      return api.outline(scan.id, d, sizeOf(scan));
    },
    (one) => one.mask.byteLength,
  );

export const setOutline = (id, d, what) => outlines.put(at(id, 0, d), what, what.mask.byteLength);
export const peekOutline = (id, d) => outlines.peek(at(id, 0, d));

export function mask(id, axis, index, layer, round, size) {
  const key = `${id}/${layer}/${round}/${axis}/${index}`;
  return masks.get(key, () => api.mask(id, axis, index, layer, round, size), (one) => one.byteLength);
}

export const prediction = (scan, d, round) =>
  mask(scan.id, 0, d, "prediction", round, sizeOf(scan)).catch((error) => {
    if (error instanceof api.Refused && error.status === 404) return null; // this round lacks this scan
    throw error;
  });

/** Drawn outlines change the cuts through them. */
export const dropCuts = (id) => masks.dropAll(`${id}/outline/`);
export const dropPredictions = () => {
  for (const scan of desk.scans) masks.dropAll(`${scan.id}/prediction/`);
};

/** The slice in hand: what the editor shows and draws on. */
export const hand = { id: null, d: -1, image: null, outline: null, prediction: null, predicted: false, beside: [] };

export const isInHand = (id, d) => hand.id === id && hand.d === d;

/** Take slice `d` of the open scan in hand; what is not here yet follows as it comes. */
export async function take(d) {
  const { scan } = desk;
  const key = at(scan.id, 0, d);
  Object.assign(hand, {
    id: scan.id,
    d,
    image: images.peek(key),
    outline: outlines.peek(key),
    prediction: null,
    predicted: desk.round === null, // true once it is known what is predicted here, if anything
    beside: [],
  });
  tell("slice");
  const still = () => isInHand(scan.id, d);
  const arrive = (name) => (what) => {
    if (still()) {
      hand[name] = what;
      tell("slice");
    }
  };
  try {
    await Promise.all([
      image(scan.id, 0, d).then(arrive("image")),
      outline(scan, d).then(arrive("outline")),
      desk.round === null
        ? null
        : prediction(scan, d, desk.round)
            .then(arrive("prediction"))
            .finally(() => arrive("predicted")(true)),
    ]);
    if (still()) await takeBeside(scan, d, still);
  } catch (error) {
    if (still()) complain(error);
  }
}

async function takeBeside(scan, d, still) {
  const near = [d - 1, d + 1].filter((one) => scan.slices.get(String(one)) === "outlined");
  const found = await Promise.all(near.map((one) => outline(scan, one)));
  if (still()) {
    hand.beside = found.map((one) => one.mask);
    tell("slice");
  }
  for (const step of [1, -1, 2, -2, 3]) {
    if (!still()) return;
    const other = d + step;
    if (other < 0 || other >= scan.shape[0]) continue;
    await Promise.all([
      image(scan.id, 0, other),
      outline(scan, other),
      desk.round === null ? null : prediction(scan, other, desk.round),
    ]).catch(() => {});
  }
}
