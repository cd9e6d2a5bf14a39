// The panel at the right: structures, how the picture looks, what a person says of this slice and scan.
import * as api from "./api.js";
import { change, complain, desk, note, on, remember, shown, structure, tagOf, tell } from "./desk.js";
import * as drawing from "./drawing.js";
import { badge, byId, element } from "./element.js";
import { hand } from "./slices.js";

const SLICE_WORDS = {
  untouched: "not outlined yet",
  outlined: "outlined by you",
  empty: "nothing here",
};

function renderStructures() {
  byId("structures").replaceChildren(
    ...desk.session.classes.map((one, i) => {
      const swatch = element("i", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = one.colour;
      const dice = desk.scan?.quality?.get(one.name) ?? desk.scan?.quality?.get(String(one.value));
      const ml = desk.scan?.volume_ml?.get(one.name) ?? desk.scan?.volume_ml?.get(String(one.value));
      const facts = [dice && `Dice ${dice.dice.toFixed(2)}`, ml !== undefined && ml !== null && `${ml.toFixed(0)} mL`];
      return element(
        "button",
        {
          type: "button",
          role: "radio",
          class: "structure",
          "aria-checked": String(one.value === desk.value),
          tabindex: one.value === desk.value ? "0" : "-1",
          onclick: () => change({ value: one.value }),
        },
        swatch,
        element("span", { class: "name" }, one.name),
        element("span", { class: "facts" }, facts.filter(Boolean).join(", ")),
        i < 9 ? element("kbd", { "aria-hidden": "true" }, `Alt ${i + 1}`) : null,
      );
    }),
  );
}

function tagWords() {
  const tag = tagOf(desk.scan, structure());
  if (tag === "absent") return "not in this scan";
  const ends = (tag ?? [null, null]).map((d) => (d === null ? null : shown(d)));
  if (desk.scan.flipped) ends.reverse();
  const [first, last] = ends;
  if (first === null && last === null) return "first and last slice not said";
  return `slices ${first ?? "?"} to ${last ?? "?"}`;
}

/** Does a person's tag say that the slice in sight holds the structure? */
function isTagged(one) {
  const tag = tagOf(desk.scan, one);
  return Array.isArray(tag) && !tag.includes(null) && tag[0] <= hand.d && hand.d <= tag[1];
}

/** A slice that a person outlined shows every structure wholly: which ones it does not show is said. */
function sliceWords(state) {
  if (state !== "outlined" || !hand.outline) return SLICE_WORDS[state];
  const lacks = desk.session.classes.filter(({ value }) => !hand.outline.mask.includes(value));
  if (!lacks.length) return SLICE_WORDS[state];
  const tagged = lacks.find(isTagged);
  if (tagged) return `no ${tagged.name}, but its tag says here`;
  return lacks.length === 1 ? `outlined, no ${lacks[0].name}` : `outlined, ${lacks.length} structures not here`;
}

function renderSlice() {
  const has = Boolean(desk.scan);
  byId("scan-panel").hidden = !has;
  byId("no-scan").hidden = has;
  byId("verdict").hidden = !has;
  if (!has) return;
  const state = hand.outline?.state ?? desk.scan.slices.get(String(desk.d)) ?? "untouched";
  byId("slice-state").textContent = sliceWords(state);
  const lacking = state === "outlined" && desk.session.classes.some((one) => isTagged(one) && !hand.outline?.mask.includes(one.value));
  byId("slice-state").dataset.state = lacking ? "lacking" : state;
  byId("tag-words").textContent = `${structure().name}: ${tagWords()}`;
  byId("take").disabled = !hand.prediction;
  byId("brush-mm").value = String(desk.brushMm);
  byId("brush-words").textContent = `${desk.brushMm} mm`;
  byId("opacity").value = String(Math.round(desk.opacity * 100));
  byId("opacity-words").textContent = `${Math.round(desk.opacity * 100)} %`;
  byId("filled").checked = desk.filled;
  byId("neighbours").checked = desk.neighbours;
  byId("predictions").checked = desk.predictions;
  byId("undo").disabled = !drawing.canUndo();
  byId("redo").disabled = !drawing.canRedo();
  const { accepted, round } = desk.scan;
  byId("accept").disabled = round === null && !accepted;
  byId("accept").setAttribute("aria-pressed", String(accepted));
  byId("accept-words").textContent = accepted ? "Accepted" : "Accept this scan";
  byId("accept-note").textContent =
    round === null && !accepted && !desk.scan.quality_note ? "There is no prediction to accept yet." : "";
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === desk.tool));
  }
  for (const button of document.querySelectorAll("button[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === desk.view));
  }
  byId("keyboard").setAttribute("aria-pressed", String(desk.keyboard));
}

function renderHead() {
  if (!desk.scan) return;
  byId("scan-name").textContent = desk.scan.name;
  byId("scan-name").title = desk.scan.name;
  document.title = `${desk.scan.name}: fewmask`;
  byId("scan-state").replaceChildren(badge(desk.scan.state));
  byId("scan-note").textContent = byId("scan-note").title = desk.scan.quality_note ?? "";
}

function renderPresets() {
  byId("presets").replaceChildren(
    ...presets().map(({ name, low, high }, i) =>
      element(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-pressed": String(low === desk.window.low && high === desk.window.high),
          onclick: () => change({ window: { low, high } }),
        },
        name,
        element("kbd", { "aria-hidden": "true" }, String(i + 1)),
      ),
    ),
  );
}

export const presets = () => (desk.scan?.presets.length ? desk.scan.presets : desk.session.presets).slice(0, 5);

/** Say the first or last slice that holds the structure; `end` as the file counts: 0 first, 1 last. */
export function tagEnd(end) {
  const tag = tagOf(desk.scan, structure());
  const ends = Array.isArray(tag) ? [...tag] : [null, null];
  const index = desk.scan.flipped ? 1 - end : end;
  ends[index] = desk.d;
  if (ends[0] !== null && ends[1] !== null && ends[0] > ends[1]) ends[1 - index] = null;
  return sendTags({ first: ends[0], last: ends[1], absent: false });
}

export const tagAbsent = () => sendTags({ first: null, last: null, absent: true });
export const tagNothing = () => sendTags({ first: null, last: null, absent: false });

async function sendTags(said) {
  const { scan } = desk;
  const one = structure();
  try {
    const answer = await api.putTags(scan.id, { class: one.name, ...said, revision: scan.tags_revision });
    Object.assign(scan, answer);
    tell("tags");
    note(`${one.name}: ${tagWords()}.`);
  } catch (error) {
    complain(error);
    if (error.status === 409) tell("reload");
  }
}

export async function acceptScan() {
  const { scan } = desk;
  if (scan.round === null && !scan.accepted) return note("There is no prediction to accept yet.");
  try {
    // What is accepted is the mask in sight.
    const answer = await api.accept(scan.id, !scan.accepted, scan.accepted ? scan.round : (desk.round ?? scan.round));
    Object.assign(scan, answer);
    tell("scan-changed", answer);
    return note(answer.accepted ? `${scan.name} is accepted. J goes to the next.` : `${scan.name} is no longer accepted.`);
  } catch (error) {
    return complain(error);
  }
}

export function stepStructure(step) {
  const all = desk.session.classes;
  const now = all.findIndex((one) => one.value === desk.value);
  change({ value: all[(now + step + all.length) % all.length].value });
}

export function render() {
  if (desk.session) {
    renderStructures();
    renderSlice();
    renderHead();
    renderPresets();
  }
}

export function setUp() {
  const listen = (id, kind, hear) => byId(id).addEventListener(kind, hear);
  listen("opacity", "input", (event) => {
    change({ opacity: Number(event.target.value) / 100 });
    remember("opacity", desk.opacity);
  });
  listen("brush-mm", "input", (event) => {
    change({ brushMm: Number(event.target.value) });
    remember("brush", desk.brushMm);
  });
  for (const name of ["filled", "neighbours", "predictions"]) {
    listen(name, "change", (event) => {
      change({ [name]: event.target.checked });
      remember(name, event.target.checked);
    });
  }
  byId("structures").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    stepStructure(step);
    byId("structures").querySelector('[aria-checked="true"]').focus();
  });
  let queued = false;
  const soon = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      const focus = document.activeElement?.getAttribute("aria-checked") !== null ? "radio" : null;
      render();
      if (focus && document.activeElement === document.body) {
        byId("structures").querySelector('[aria-checked="true"]')?.focus();
      }
    });
  };
  for (const name of ["look", "slice", "opened", "tags", "drawn", "scans"]) on(name, soon);
}
