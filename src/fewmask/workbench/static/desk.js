// What is on the desk: the one state that all parts of the page share, and how they hear of changes.

const remembered = (name, otherwise) => {
  try {
    return JSON.parse(localStorage.getItem(`fewmask-${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
};

/** Only how the page looks is kept in localStorage; nothing of a scan is. */
export const remember = (name, value) =>
  localStorage.setItem(`fewmask-${name}`, JSON.stringify(value));

export const desk = {
  session: null,
  scans: [],
  scan: null, // details of the open scan
  d: 0,
  tool: "brush",
  value: 1,
  brushMm: Number(remembered("brush", 12)),
  window: { low: 0, high: 1 },
  opacity: Number(remembered("opacity", 0.4)),
  filled: remembered("filled", true) === true,
  predictions: true,
  neighbours: remembered("neighbours", true) === true,
  hidden: false, // H is held
  round: null, // whose predictions are shown
  rounds: { default: null, rounds: [] },
  view: "slice",
  keyboard: false,
  cursor: { x: 0, y: 0 }, // crosshair, in pixels of the slice
  shortcuts: remembered("shortcuts", true) === true,
};

const ears = new Map();

export function on(name, hear) {
  if (!ears.has(name)) ears.set(name, []);
  ears.get(name).push(hear);
}

export function tell(name, what) {
  for (const hear of ears.get(name) ?? []) hear(what);
}

export function change(fields) {
  Object.assign(desk, fields);
  tell("look");
}

export const structure = (value = desk.value) =>
  desk.session.classes.find((one) => one.value === value) ?? desk.session.classes[0];

/** Tags may be keyed by a structure's name or by its value. */
export const tagOf = (scan, one) => scan.tags.get(one.name) ?? scan.tags.get(String(one.value));

/** The number of slice `d` as the scan's file counts. */
export const shown = (d, scan = desk.scan) =>
  (scan.flipped ? scan.shape[0] - 1 - d : d) + desk.session.slices_from;

export const depth = () => desk.scan?.shape?.[0] ?? 0;

let noteTimer = 0;

/** A short word to the person: seen for some seconds, and read out. */
export function note(words, kind = "") {
  const line = document.getElementById("note");
  line.textContent = words;
  line.dataset.kind = kind;
  line.classList.add("seen");
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => line.classList.remove("seen"), kind === "bad" ? 9000 : 4500);
}

export function complain(error) {
  if (error?.name === "AbortError") return;
  const words = [error.message, error.fix].filter(Boolean).map((one) => `${one.replace(/[.\s]+$/, "")}.`);
  note(words.map((one) => one[0].toUpperCase() + one.slice(1)).join(" "), "bad");
}
