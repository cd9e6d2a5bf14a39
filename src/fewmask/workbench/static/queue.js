// The queue: every scan, what is known of it, and what to outline next.
import * as api from "./api.js";
import { scanStates } from "./check.js";
import { complain, desk, note, on, tell } from "./desk.js";
import { badge, byId, element } from "./element.js";

const thumbs = new Map();
const wanted = { state: "all", sort: "doubt", search: "" };
let suggested = { rule: null, suggestions: [] };

const words = ({ dice, low, high }) => `${two(dice)} (${two(low)} to ${two(high)})`;
const two = (v) => v.toFixed(2);
const canOpen = (scan) => scan.state !== "refused"; // one that was not read yet has no shape
const isPredicted = (scan) => scan.round !== null;
/** Small is doubtful: a mask of which nothing can be known comes first, a scan without a mask, or that cannot be read, last. */
const doubt = (scan) => (isPredicted(scan) && canOpen(scan) ? (scan.quality?.get("mean")?.dice ?? -1) : 2);
const stateAt = (scan) => scanStates.indexOf(scan.state);
const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });

const SORTS = {
  doubt: (a, b) => Number(a.accepted) - Number(b.accepted) || doubt(a) - doubt(b) || byName(a, b),
  name: byName,
  state: (a, b) => stateAt(a) - stateAt(b) || byName(a, b),
};

/** The scans of the queue, in the order in which they are shown. */
export function listed() {
  const search = wanted.search.toLowerCase();
  return desk.scans
    .filter((scan) => wanted.state === "all" || scan.state === wanted.state)
    .filter((scan) => scan.name.toLowerCase().includes(search))
    .sort(SORTS[wanted.sort]);
}

/** The scan `step` places further in the queue that can be opened, or null. */
export function beside(step) {
  const all = listed().filter(canOpen);
  const now = all.findIndex((scan) => scan.id === desk.scan?.id);
  // Once accepted, a scan stands at the end of the list: what comes next is the most doubtful one.
  if (step > 0 && wanted.sort === "doubt" && all[now]?.accepted) return all.find((scan) => !scan.accepted) ?? null;
  return all[now < 0 ? 0 : now + step] ?? null;
}

async function thumbOf(scan, image) {
  if (!canOpen(scan)) return;
  const key = `${scan.id}/${scan.outlined}`;
  try {
    if (!thumbs.has(key)) thumbs.set(key, api.thumb(scan.id));
    image.src = await thumbs.get(key);
  } catch {
    thumbs.delete(key); // a picture that does not come leaves its place empty
  }
}

// Pictures are asked for when their row comes into sight.
const eyes = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    eyes.unobserve(target);
    const scan = desk.scans.find((one) => one.id === target.dataset.scan);
    if (scan) thumbOf(scan, target);
  }
});

function outlinedWords(scan) {
  const parts = [];
  if (scan.outlined) parts.push(`${scan.outlined} outlined`);
  if (scan.empty) parts.push(`${scan.empty} empty`);
  return parts.join(", ");
}

function row(scan) {
  const image = element("img", { alt: "", class: "thumb", "data-scan": scan.id });
  eyes.observe(image);
  const mean = scan.quality?.get("mean");
  const open = scan.id === desk.scan?.id;
  return element(
    "li",
    {},
    element(
      "button",
      {
        class: "scan",
        type: "button",
        "data-id": scan.id,
        "aria-current": open ? "true" : null,
        disabled: !canOpen(scan),
        onclick: () => tell("open", { id: scan.id }),
      },
      image,
      element(
        "span",
        { class: "about" },
        element("span", { class: "name", title: scan.name }, scan.name),
        element("span", { class: "line" }, badge(scan.state), element("span", { class: "count" }, outlinedWords(scan))),
        mean
          ? element("span", { class: "quality" }, meter(mean), element("span", {}, `Dice ${words(mean)}`))
          : null,
        isPredicted(scan) && !mean ? element("span", { class: "quality" }, "quality not known") : null,
        scan.reason ? element("span", { class: "reason", title: scan.reason }, scan.reason) : null,
      ),
    ),
  );
}

/** Predicted Dice as a bar with its interval; the same figures stand beside it in words. */
function meter({ dice, low, high }) {
  const made = element("span", { class: "meter", "aria-hidden": "true" });
  const [range, point] = [element("i", { class: "range" }), element("i", { class: "point" })];
  range.style.left = `${low * 100}%`;
  range.style.width = `${(high - low) * 100}%`;
  point.style.left = `${dice * 100}%`;
  made.append(range, point);
  return made;
}

export function render() {
  const scans = listed();
  const focus = document.activeElement?.dataset?.id;
  byId("scans").replaceChildren(...scans.map(row));
  if (focus) byId("scans").querySelector(`[data-id="${focus}"]`)?.focus({ preventScroll: true });
  const all = desk.scans.length;
  byId("queue-count").textContent = scans.length === all ? `${all} scans` : `${scans.length} of ${all} scans`;
  byId("queue-empty").hidden = scans.length > 0;
  byId("queue-empty").textContent = all
    ? "No scan is like that. Change the search or the state above."
    : "This folder holds no scans. Stop the server and start it with a folder of NIfTI or DICOM scans.";
}

const KEYS = "keys Comma and Dot.";
const TAGS_FIRST = `This takes seconds, and tells where to outline: ${KEYS}`;

/** What to do in a scan, in words for its row; and for a note once it is open. */
function wordsOf({ kind, reason, shown }, scan) {
  const name = scan?.name ?? "scan";
  if (kind !== "tags") return { name: `${name}, slice ${shown}`, reason };
  return { name, reason, note: `In ${name}, ${reason}. Scroll with the arrow keys up and down; ${KEYS}` };
}

function openSuggested({ id, d }, words) {
  tell("open", { id, d });
  if (words) note(words);
}

function renderSuggestions() {
  const { rule, suggestions } = suggested;
  byId("next").hidden = suggestions.length === 0;
  byId("next-title").textContent = rule ? "Do next" : "Begin here";
  byId("next-rule").textContent = rule ? `Slices: ${rule}` : TAGS_FIRST;
  byId("next-list").replaceChildren(
    ...suggestions.slice(0, 10).map((one) => {
      const words = wordsOf(one, desk.scans.find(({ id }) => id === one.id));
      return element(
        "li",
        {},
        element(
          "button",
          { type: "button", class: "suggestion", onclick: () => openSuggested(one, words.note) },
          element("span", { class: "name" }, words.name),
          element("span", { class: "reason", title: words.reason }, words.reason),
        ),
      );
    }),
  );
}

export async function refreshSuggestions() {
  try {
    suggested = await api.next(10);
    renderSuggestions();
  } catch (error) {
    if (!(error instanceof api.Away)) complain(error);
  }
}

export async function refresh() {
  desk.scans = await api.scans();
  render();
  tell("scans");
}

/** The server's newer word on one scan. */
export function replace(scan) {
  desk.scans = desk.scans.map((one) => (one.id === scan.id ? { ...one, ...scan } : one));
  render();
}

export function setUp() {
  const states = byId("queue-state");
  for (const state of scanStates) states.append(element("option", { value: state }, state));
  for (const [id, name] of [["queue-state", "state"], ["queue-sort", "sort"], ["queue-search", "search"]]) {
    byId(id).addEventListener("input", (event) => {
      wanted[name] = event.target.value;
      render();
    });
  }
  on("opened", () => {
    render();
    byId("scans").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  });
}
