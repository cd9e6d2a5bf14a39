// Rounds: train on what is outlined, predict every scan, compare with the round before.
import * as api from "./api.js";
import { change, complain, desk, note, on, tell } from "./desk.js";
import { byId, element } from "./element.js";

const STAGES = { prepare: "Preparing the scans", train: "Training", predict: "Predicting all scans" };
const STATES = { running: "running", stopped: "stopped", done: "done", failed: "failed" };

let running = null; // the newest word from /api/status

export function timeLeft(seconds) {
  if (seconds === null) return "time left not known yet";
  if (seconds < 60) return "less than a minute left";
  const minutes = Math.round(seconds / 60);
  return minutes === 1 ? "about a minute left" : `about ${minutes} minutes left`;
}

const outlined = () =>
  desk.scans.reduce(
    (sum, scan) => ({
      slices: sum.slices + scan.outlined,
      scans: sum.scans + (scan.outlined > 0 ? 1 : 0),
      empty: sum.empty + scan.empty,
    }),
    { slices: 0, scans: 0, empty: 0 },
  );

const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

function renderStart() {
  const { slices, scans, empty } = outlined();
  byId("train").disabled = slices === 0 || running?.state === "running";
  byId("train-note").textContent = slices
    ? `To learn from: ${many(slices, "outlined slice")} of ${many(scans, "scan")}${empty ? `, and ${many(empty, "slice")} called empty` : ""}.`
    : "Nothing is outlined yet. Outline a few slices first (five are a start), then train.";
}

function renderProgress() {
  const shown = running && running.state === "running";
  byId("progress").hidden = !shown;
  if (!shown) return;
  const bar = byId("progress-bar");
  if (running.total) {
    bar.max = running.total;
    bar.value = running.done ?? 0;
  } else {
    bar.removeAttribute("value");
  }
  const part = running.total ? ` ${Math.round((100 * (running.done ?? 0)) / running.total)} %` : "";
  byId("progress-stage").textContent = `${STAGES[running.stage] ?? "Starting"}${part}`;
  byId("progress-left").textContent = timeLeft(running.seconds_left);
}

const act = (words, run, kind = "quiet") =>
  element("button", { type: "button", class: kind, onclick: run }, words);

async function steer(number, verb, said) {
  try {
    await api.steerRound(number, verb);
    note(said);
    await refresh();
    tell("rounds-changed");
  } catch (error) {
    complain(error);
  }
}

function card(round) {
  const { number, state, compared, message, minutes } = round;
  const isDefault = desk.rounds.default === number;
  const facts = [
    round.slices !== null && many(round.slices, "outlined slice"),
    round.scans !== null && many(round.scans, "scan"),
    round.aside > 0 && `${round.aside} kept aside to compare`,
    minutes !== null && `${Math.round(minutes)} min`,
  ].filter(Boolean);
  return element(
    "li",
    { class: "round", "data-state": state },
    element(
      "div",
      { class: "round-head" },
      element("strong", {}, `Round ${number}`),
      element("span", { class: "round-state" }, STATES[state]),
      isDefault ? element("span", { class: "default" }, "in use") : null,
    ),
    facts.length ? element("p", { class: "facts" }, facts.join(", ")) : null,
    compared ? element("p", {}, compared.words) : null,
    ...(round.warnings ?? []).map((words) => element("p", { class: "bad" }, words)),
    message ? element("p", { class: state === "failed" ? "bad" : "facts" }, message) : null,
    element(
      "div",
      { class: "row" },
      state === "running" ? act("Stop", () => steer(number, "stop", `Round ${number} stops.`)) : null,
      state === "stopped" || state === "failed"
        ? act("Go on", () => steer(number, "go-on", `Round ${number} goes on.`))
        : null,
      state === "done" && !isDefault
        ? act("Use this round", () => steer(number, "default", `Round ${number} is in use.`))
        : null,
      state === "done"
        ? element(
            "button",
            {
              type: "button",
              class: "quiet",
              "aria-pressed": String(desk.round === number),
              onclick: () => showRound(number),
            },
            desk.round === number ? "Shown" : "Show",
          )
        : null,
    ),
  );
}

function showRound(number) {
  change({ round: number });
  render();
  tell("round-shown");
}

export function render() {
  renderStart();
  renderProgress();
  const { rounds } = desk.rounds;
  byId("rounds-empty").hidden = rounds.length > 0;
  byId("rounds").replaceChildren(...[...rounds].sort((a, b) => b.number - a.number).map(card));
}

const finished = () => desk.rounds.rounds.filter((one) => one.state === "done").map((one) => one.number);
export const doneRounds = finished;

export async function refresh() {
  const before = desk.rounds.default;
  desk.rounds = await api.rounds();
  const there = finished();
  if (desk.round === null || desk.rounds.default !== before || !there.includes(desk.round)) {
    change({ round: desk.rounds.default ?? there.at(-1) ?? null });
  }
  running = desk.rounds.rounds.find((one) => one.state === "running") ?? null;
  render();
}

/** What /api/status said; true when a round began, ended, or went to another stage of its life. */
export function hear(round) {
  const key = (one) => (one && one.state === "running" ? `${one.number}` : "");
  const changed = key(round) !== key(running);
  running = round;
  renderStart();
  renderProgress();
  return changed;
}

async function train() {
  const field = byId("minutes");
  const minutes = Number(field.value);
  if (!field.checkValidity() || !minutes) {
    field.reportValidity();
    return;
  }
  byId("train").disabled = true;
  try {
    const round = await api.startRound(minutes);
    note(`Round ${round.number} begins. You can go on outlining meanwhile.`);
    await refresh();
  } catch (error) {
    complain(error);
    renderStart();
  }
}

export function setUp() {
  byId("train-form").addEventListener("submit", (event) => {
    event.preventDefault();
    train();
  });
  on("scans", render);
}
