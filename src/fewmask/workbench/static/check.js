// What the server sends is checked before use: kinds, sizes, bounds. Records keep the fields they name
// and nothing else, and tables become a Map, so that no name in an answer reaches a prototype.

export class Unexpected extends Error {}

const fail = (where, wanted) => {
  throw new Unexpected(`The server sent something other than ${wanted} for "${where}".`);
};

export const text = (most = 4000) => (v, where) =>
  typeof v === "string" && v.length <= most ? v : fail(where, `a text of at most ${most} letters`);

export const number = (low = -Infinity, high = Infinity) => (v, where) =>
  typeof v === "number" && Number.isFinite(v) && v >= low && v <= high ? v : fail(where, "a number");

export const whole = (low = -1e9, high = 1e9) => (v, where) =>
  Number.isInteger(v) && v >= low && v <= high ? v : fail(where, `a whole number ${low} to ${high}`);

export const revision = whole(0, Number.MAX_SAFE_INTEGER);

export const flag = () => (v, where) => (typeof v === "boolean" ? v : fail(where, "true or false"));

export const one = (...words) => (v, where) => (words.includes(v) ? v : fail(where, words.join(", ")));

export const maybe = (kind) => (v, where) => (v === null || v === undefined ? null : kind(v, where));

export const either = (...kinds) => (v, where) => {
  for (const kind of kinds) {
    try {
      return kind(v, where);
    } catch (error) {
      if (!(error instanceof Unexpected)) throw error;
    }
  }
  return fail(where, "one of its known forms");
};

export const list = (kind, most, exactly = null) => (v, where) => {
  if (!Array.isArray(v) || v.length > most) return fail(where, `a list of at most ${most}`);
  if (exactly !== null && v.length !== exactly) return fail(where, `a list of ${exactly}`);
  return v.map((one, i) => kind(one, `${where}[${i}]`));
};

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);

export const record = (fields) => (v, where) => {
  if (!isObject(v)) return fail(where, "a record");
  const out = {};
  for (const [name, kind] of Object.entries(fields)) {
    out[name] = kind(Object.hasOwn(v, name) ? v[name] : undefined, `${where}.${name}`);
  }
  return out;
};

export const table = (kind, most = 4096) => (v, where) => {
  if (!isObject(v)) return fail(where, "a table");
  const names = Object.keys(v);
  if (names.length > most) return fail(where, `a table of at most ${most}`);
  return new Map(names.map((name) => [name, kind(v[name], `${where}.${name}`)]));
};

const colour = (v, where) =>
  typeof v === "string" && /^#[0-9a-f]{6}$/i.test(v) ? v : fail(where, "a colour such as #1f77b4");

const id = (v, where) =>
  typeof v === "string" && /^[0-9a-f]{16}$/.test(v) ? v : fail(where, "a scan's id");

const preset = record({ name: text(40), low: number(), high: number() });
const range = record({ dice: number(0, 1), low: number(0, 1), high: number(0, 1) });
const sliceState = one("untouched", "outlined", "empty");
export const scanStates = ["untouched", "partly", "predicted", "corrected", "accepted", "refused"];
const end = maybe(whole(0, 1e5));
export const tags = table(either(one("absent"), list(end, 2, 2)), 64);

const scan = {
  id,
  name: text(300),
  state: one(...scanStates),
  reason: maybe(text()),
  shape: maybe(list(whole(1, 1e5), 3, 3)),
  spacing_mm: maybe(list(number(1e-6, 1e4), 3, 3)),
  flipped: flag(),
  outlined: whole(0),
  empty: whole(0),
  tags,
  tags_revision: revision,
  quality: maybe(table(maybe(range), 64)),
  quality_note: maybe(text()),
  volume_ml: maybe(table(number(), 64)),
  round: maybe(whole(0)),
  accepted: flag(),
};

export const scanRecord = record(scan);
export const scans = record({ cases: list(scanRecord, 20000) });
export const scanDetail = record({
  ...scan,
  scale: number(),
  offset: number(),
  percentiles: list(number(), 3, 3),
  presets: list(preset, 12),
  edges: table(list(text(4), 4, 4), 3),
  slices: table(sliceState, 1e5),
  revisions: table(revision, 1e5),
  extents: maybe(table(list(whole(0, 1e5), 2, 2), 64)), // first and last predicted slice of a structure
});

export const session = record({
  version: text(80),
  data: text(300),
  classes: list(record({ value: whole(1, 255), name: text(80), colour }), 64),
  plane: text(20),
  slices_from: whole(0, 1),
  modality: maybe(one("ct", "mr")),
  presets: list(preset, 12),
  limits: record({ points: whole(1, 1e4), boxes: whole(1, 1e4) }),
  next_rule: maybe(text()),
});

export const saved = record({ revision, state: sliceState });
export const savedTags = record({ tags, tags_revision: revision });
export const suggestions = record({
  rule: maybe(text()),
  suggestions: list(record({ id, kind: maybe(one("tags", "slice")), d: whole(0), shown: whole(0), reason: text() }), 200),
});

export const round = record({
  number: whole(0),
  state: one("running", "stopped", "done", "failed"),
  stage: maybe(text(40)),
  done: maybe(number(0)),
  total: maybe(number(0)),
  seconds_left: maybe(number(0)),
  message: maybe(text()),
  warnings: maybe(list(text(), 100)),
  slices: maybe(whole(0)),
  scans: maybe(whole(0)),
  aside: maybe(whole(0)),
  minutes: maybe(number(0)),
  compared: maybe(
    record({
      slices: maybe(whole(0)),
      better_by: maybe(number()),
      low: maybe(number()),
      high: maybe(number()),
      words: text(),
    }),
  ),
});
export const rounds = record({ default: maybe(whole(0)), rounds: list(round, 1000) });
export const status = record({
  sam: maybe(record({ total: maybe(whole(0)), done: maybe(whole(0)) })),
  saving: maybe(record({ waiting: whole(0), failed: maybe(text()) })),
  round: maybe(round),
  free_gb: maybe(number()),
});
