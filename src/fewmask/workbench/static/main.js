// Starts the page, and joins its parts.
import * as api from "./api.js";
import { change, complain, depth, desk, note, on, shown, tell } from "./desk.js";
import * as dialog from "./dialog.js";
import * as drawing from "./drawing.js";
import * as editor from "./editor.js";
import { byId, element, icon } from "./element.js";
import { bindings } from "./bindings.js";
import * as keys from "./keys.js";
import * as panel from "./panel.js";
import * as pen from "./pen.js";
import * as queue from "./queue.js";
import * as rounds from "./rounds.js";
import * as sam from "./sam.js";
import * as saving from "./saving.js";
import * as scrubber from "./scrubber.js";
import * as slices from "./slices.js";
import * as solid from "./solid.js";
import * as store from "./store.js";
import * as views from "./views.js";

const POLL_MS = 1500;
const POLL_HIDDEN_MS = 10000;

// ---- going from slice to slice and scan to scan -----------------------------------------------------------

export async function go(d) {
  if (!desk.scan) return;
  const to = Math.min(depth() - 1, Math.max(0, d));
  if (to === desk.d && slices.hand.d === to) return;
  pen.putDown();
  desk.d = to;
  await slices.take(to);
}

/** `step` slices further, as the file counts. */
export const scroll = (step) => go(desk.d + (desk.scan.flipped ? -step : step));

function windowFor(scan) {
  const before = panel.presets();
  const { low, high } = desk.window;
  const which = desk.scan ? before.findIndex((one) => one.low === low && one.high === high) : 0;
  if (desk.scan && which < 0) return desk.window; // a window set by hand stays
  const all = scan.presets.length ? scan.presets : desk.session.presets;
  const [low_, , high_] = scan.percentiles;
  return all[Math.max(0, which)] ?? { low: low_, high: high_ };
}

let openings = 0;

/** Open a scan at slice `d`, or where a person left off; the scan in hand is told anew and stays at its slice. */
export async function open(id, d = null) {
  pen.putDown();
  const mine = ++openings;
  try {
    const scan = await api.scan(id);
    if (mine !== openings) return;
    pen.putDown(); // what was begun while the answer was on its way
    if (!scan.shape) return note(`${scan.name} cannot be opened: ${scan.reason ?? "it could not be read"}.`, "bad");
    saving.overlay(scan);
    const { low, high } = windowFor(scan);
    // Asked when the answer is here: the slice may have been changed while it was on its way.
    const first = d ?? (desk.scan?.id === id ? desk.d : middleOf(scan));
    Object.assign(desk, { scan, d: first, window: { low, high } });
    byId("stage").dataset.open = "true";
    tell("opened");
    await slices.take(first);
  } catch (error) {
    complain(error);
  }
}

// Where a person left off: the first outlined slice, or the middle of what is predicted, or of the scan.
function middleOf(scan) {
  const outlined = [...scan.slices].filter(([, state]) => state === "outlined").map(([d]) => Number(d));
  if (outlined.length) return Math.min(...outlined);
  const extent = [...(scan.extents?.values() ?? [])][0];
  return extent ? Math.round((extent[0] + extent[1]) / 2) : Math.floor(scan.shape[0] / 2);
}

export async function goTo(id, d) {
  if (desk.scan?.id !== id) await open(id, d);
  else await go(d);
}

export async function nextScan(step) {
  const scan = queue.beside(step);
  if (scan) await open(scan.id);
  else note(step > 0 ? "This is the last scan of the queue." : "This is the first scan of the queue.");
}

// ---- saving ---------------------------------------------------------------------------------------------------

const SAVING_WORDS = {
  saved: () => "saved",
  saving: () => "saving",
  kept: ({ count }) => `not saved, kept in this browser: retrying (${count})`,
  held: ({ refused }) => (refused ? "not saved, kept in this browser" : "not saved: choose which drawing stands"),
};

function showSaving(now) {
  const line = byId("saved");
  const words = SAVING_WORDS[now.state](now);
  if (line.textContent !== words) line.textContent = words;
  line.dataset.state = now.state;
}

let conflicts = Promise.resolve();

async function settle({ entry, theirs }) {
  if (desk.scan?.id !== entry.id) await open(entry.id, entry.d);
  const image = await slices.image(entry.id, 0, entry.d);
  const mask = await dialog.conflict(entry, theirs, image);
  await saving.settle(entry, theirs, mask);
}

async function offerLeft() {
  const entries = await store.left(desk.session.data).catch(() => []);
  if (!entries.length) return;
  const answer = await dialog.offerLeft(entries);
  if (answer === "send") {
    saving.sendLeft(entries);
    entries.forEach(drawing.adopt);
  }
  if (answer === "drop") for (const { key } of entries) await store.forget(key);
}

// ---- what the server says of itself ------------------------------------------------------------------------

let away = false;

async function poll() {
  try {
    const status = await api.status();
    if (away) {
      away = false;
      saving.run();
    }
    const { sam: ready, saving: disk } = status;
    byId("server").textContent =
      disk?.failed ?? (ready?.total && ready.done < ready.total ? `SAM has read ${ready.done} of ${ready.total} slices` : "");
    byId("server").dataset.state = disk?.failed ? "bad" : "";
    if (rounds.hear(status.round)) await refreshAll();
  } catch (error) {
    if (error instanceof api.Away) {
      if (!away) note("The server does not answer. What you draw is kept in this browser; start `fewmask label` again.", "bad");
      away = true;
      byId("server").textContent = "no server";
      byId("server").dataset.state = "bad";
    } else if (error instanceof api.Refused && error.status === 401) {
      if (byId("server").textContent !== "new address") {
        note("The server was started anew. Open the address that it printed: this page is no longer let in.", "bad");
      }
      byId("server").textContent = "new address";
      byId("server").dataset.state = "bad";
    } else complain(error);
  }
  setTimeout(poll, document.hidden ? POLL_HIDDEN_MS : POLL_MS);
}

export async function refreshAll() {
  slices.dropPredictions();
  // Each for itself: a server that cannot tell one of these still serves for the others.
  await Promise.all([queue.refresh().catch(complain), rounds.refresh().catch(complain)]);
  await queue.refreshSuggestions();
  await refreshScan().catch(complain);
}

/** The server's word on the open scan, without moving from the slice. */
async function refreshScan() {
  if (!desk.scan) return;
  const scan = await api.scan(desk.scan.id);
  if (scan.id !== desk.scan.id) return;
  saving.overlay(scan);
  Object.assign(desk.scan, scan);
  if (!drawing.drawing()) await slices.take(desk.d);
  tell("opened");
}

/** Rounds are compared on what is outlined since; true when another is in use for that. */
async function comparedAnew() {
  if (rounds.doneRounds().length < 2) return false;
  const before = desk.rounds.default;
  await rounds.refresh();
  return desk.rounds.default !== before;
}

// Counts and states in the queue follow what is drawn, at most once in two seconds.
let soon = 0;
function refreshQueueSoon() {
  clearTimeout(soon);
  soon = setTimeout(async () => {
    try {
      if (await comparedAnew()) return await refreshAll();
      await queue.refresh();
      await queue.refreshSuggestions();
      const now = desk.scans.find((one) => one.id === desk.scan?.id);
      if (now) {
        const { state, outlined, empty, reason, quality_note: words } = now;
        Object.assign(desk.scan, { state, outlined, empty, reason, quality_note: words });
        tell("scans");
      }
      return null;
    } catch (error) {
      if (!(error instanceof api.Away)) complain(error);
    }
  }, 800);
}

// ---- the look of the page ---------------------------------------------------------------------------------

const SCHEMES = ["auto", "light", "dark"];

function setScheme(scheme) {
  document.documentElement.dataset.scheme = scheme;
  byId("scheme").setAttribute("aria-label", `Colours: ${scheme}`);
  byId("scheme").title = `Colours: ${scheme}`;
  scrubber.render();
}

function setUpHead() {
  for (const holder of document.querySelectorAll("[data-icon]")) holder.prepend(icon(holder.dataset.icon));
  byId("scheme").addEventListener("click", () => {
    const now = document.documentElement.dataset.scheme;
    const next = SCHEMES[(SCHEMES.indexOf(now) + 1) % SCHEMES.length];
    localStorage.setItem("fewmask-scheme", next);
    setScheme(next);
  });
  setScheme(SCHEMES.includes(localStorage.getItem("fewmask-scheme")) ? localStorage.getItem("fewmask-scheme") : "auto");
  byId("queue-toggle").addEventListener("click", toggleQueue);
  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.addEventListener("click", () => showTab(tab.id));
    tab.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow")) return;
      const other = [...document.querySelectorAll("[role=tab]")].find((one) => one !== tab);
      showTab(other.id);
      other.focus();
    });
  }
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => setTool(button.dataset.tool));
  }
  for (const button of document.querySelectorAll("button[data-view]")) {
    button.addEventListener("click", () => views.show(button.dataset.view));
  }
}

export function toggleQueue() {
  const shut = document.body.classList.toggle("queue-shut");
  byId("queue-toggle").setAttribute("aria-expanded", String(!shut));
}

export function showTab(id) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === id;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
}

export function setTool(tool) {
  if (tool === desk.tool) return;
  pen.putDown();
  change({ tool });
}

function showProposal() {
  const found = sam.proposal;
  const bar = byId("proposal");
  bar.hidden = !found;
  if (!found) return;
  const words = found.reading
    ? "SAM is reading this slice; go on meanwhile."
    : found.mask
      ? `SAM's outline${found.score === null ? "" : `, score ${found.score.toFixed(2)}`}. ${found.fit ? `Copied from slice ${shown(found.fit.from)}, fitted.` : "Clicks refine it."}`
      : found.nothing
        ? "SAM found nothing there. Try a box, or another point."
        : "SAM is looking.";
  if (byId("proposal-words").textContent !== words) byId("proposal-words").textContent = words;
  byId("proposal-take").disabled = !found.mask;
}

function join() {
  on("open", ({ id, d = null }) => (d === null ? open(id) : goTo(id, d)));
  on("go", go);
  on("scroll", scroll);
  on("saving", showSaving);
  on("acknowledged", (answer) => {
    drawing.adopt(answer);
    refreshQueueSoon();
  });
  on("settled", drawing.adopt);
  on("tags", refreshQueueSoon);
  on("conflict", (found) => (conflicts = conflicts.then(() => settle(found)).catch(complain)));
  on("proposal", showProposal);
  on("scan-changed", (scan) => {
    queue.replace(scan);
    tell("scans");
  });
  on("round-shown", () => desk.scan && slices.take(desk.d));
  on("rounds-changed", refreshAll);
  on("reload", refreshScan);
  on("slice", () => (byId("where").textContent = desk.scan ? `${desk.scan.name}, slice ${shown(desk.d)}` : ""));
  for (const [id, run] of Object.entries(bindings.buttons)) byId(id).addEventListener("click", run);
  keys.setUp(bindings.keys);
  // The new address of a server started anew, pasted into this tab: go on with its token.
  addEventListener("hashchange", () => api.takeToken() && saving.again());
}

/** An address that is pasted into this tab differs only behind the #, which alone loads nothing. */
const startAnew = () => addEventListener("hashchange", () => location.reload(), { once: true });

async function start() {
  setUpHead();
  if (!api.takeToken()) {
    byId("welcome").textContent =
      "This page needs the whole address that `fewmask label` printed, with all that stands behind #.";
    startAnew();
    return;
  }
  try {
    desk.session = await api.session();
  } catch (error) {
    byId("welcome").textContent =
      error.status === 401
        ? "The server was started anew. Open the address that `fewmask label` printed last."
        : error.message;
    startAnew();
    return;
  }
  desk.value = desk.session.classes[0].value;
  byId("folder").textContent = desk.session.data;
  byId("welcome").textContent = "Choose a scan from the queue.";
  for (const part of [queue, panel, rounds, views, solid]) part.setUp();
  join();
  await refreshAll();
  panel.render();
  const first = queue.beside(0);
  if (first) await open(first.id);
  else byId("welcome").textContent = "There are no scans to outline in this folder.";
  showSaving({ state: "saved" });
  document.body.dataset.ready = "true";
  poll();
  await offerLeft();
}

start().catch(complain);
