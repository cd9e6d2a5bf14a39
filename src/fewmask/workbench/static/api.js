// Everything the page asks of its own server, and nothing else: no other address is ever called.
import * as check from "./check.js";

const JSON_LIMIT = 16 * 2 ** 20;
const BYTES_LIMIT = 64 * 2 ** 20;

/** The server answered, and said no. */
export class Refused extends Error {
  constructor(status, { code = "", message = "", fix = "" } = {}) {
    super(message || `The server answered ${status}.`);
    Object.assign(this, { status, code, fix });
  }
}

/** No answer at all: the server is not running, or was stopped. */
export class Away extends Error {}

let token = "";

/**
 * The token comes in the address behind '#', which browsers never send. It is taken out of the address bar
 * at once (history, screenshots, shared screens). sessionStorage holds it for this tab alone, so that a
 * reload works; it goes when the tab is closed. localStorage would outlive the server.
 */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? location.hash.slice(1);
  if (given) {
    token = given;
    sessionStorage.setItem("fewmask-token", token);
    history.replaceState(null, "", location.pathname);
  } else {
    token = sessionStorage.getItem("fewmask-token") ?? "";
  }
  return token !== "";
}

async function refusal(response) {
  let said = {};
  try {
    const body = await response.json();
    for (const name of ["code", "message", "fix"]) {
      if (typeof body?.[name] === "string") said[name] = body[name].slice(0, 1000);
    }
    if (Number.isInteger(body?.revision)) said.revision = body.revision;
  } catch {
    said = {};
  }
  return new Refused(response.status, said);
}

async function call(method, path, { body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(`/api${path}`, {
      method,
      body,
      signal,
      headers: { Authorization: `Bearer ${token}`, ...headers },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away("The server does not answer.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function bytesOf(response, limit) {
  const tooMuch = () => new check.Unexpected(`The server sent more than ${limit} bytes.`);
  if (Number(response.headers.get("Content-Length") ?? 0) > limit) throw tooMuch();
  let bytes;
  try {
    bytes = await response.arrayBuffer();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away("The server stopped in the middle of an answer.");
  }
  if (bytes.byteLength > limit) throw tooMuch();
  return bytes;
}

async function json(method, path, kind, sent) {
  const options =
    sent === undefined
      ? {}
      : { body: JSON.stringify(sent), headers: { "Content-Type": "application/json" } };
  const bytes = await bytesOf(await call(method, path, options), JSON_LIMIT);
  let value;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new check.Unexpected(`The server's answer to ${path} is not JSON.`);
  }
  return kind(value, path);
}

const headerNumber = (response, name, low, high) => {
  const value = Number(response.headers.get(name) ?? NaN);
  return check.number(low, high)(value, name);
};

const sized = (bytes, wanted, what) => {
  if (bytes.byteLength !== wanted) {
    throw new check.Unexpected(`${what}: ${bytes.byteLength} bytes came, ${wanted} were expected.`);
  }
  return bytes;
};

export const session = () => json("GET", "/session", check.session);
export const scans = async () => (await json("GET", "/cases", check.scans)).cases;
export async function scan(id) {
  const found = await json("GET", `/cases/${id}`, check.scanDetail);
  for (const [d, state] of found.slices) if (state === "untouched") found.slices.delete(d);
  return found;
}
export const status = () => json("GET", "/status", check.status);
export const rounds = () => json("GET", "/rounds", check.rounds);
export const next = (n) => json("GET", `/next?n=${n}`, check.suggestions);
export const startRound = (minutes) => json("POST", "/rounds", check.round, { minutes });
export const steerRound = (number, verb) => json("POST", `/rounds/${number}/${verb}`, (v) => v, {});
export const accept = (id, accepted, round) =>
  json("POST", `/cases/${id}/accept`, check.scanRecord, { accepted, round });
export const putTags = (id, sent) => json("PUT", `/cases/${id}/tags`, check.savedTags, sent);

export async function thumb(id) {
  const bytes = await bytesOf(await call("GET", `/cases/${id}/thumb`), 2 ** 20);
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
}

/** Grey levels of one slice: `data` int16 in rows, and the size of a pixel in mm. */
export async function image(id, axis, index, signal) {
  const response = await call("GET", `/cases/${id}/image/${axis}/${index}`, { signal });
  const rows = headerNumber(response, "X-Rows", 1, 20000);
  const columns = headerNumber(response, "X-Columns", 1, 20000);
  const bytes = sized(await bytesOf(response, BYTES_LIMIT), rows * columns * 2, "A slice");
  return {
    data: new Int16Array(bytes),
    rows,
    columns,
    rowMm: headerNumber(response, "X-Row-Mm", 1e-6, 1e4),
    columnMm: headerNumber(response, "X-Column-Mm", 1e-6, 1e4),
  };
}

const revisionOf = (response) =>
  check.revision(Number((response.headers.get("ETag") ?? "").replace(/^W\/|"/g, "") || NaN), "ETag");

export async function outline(id, d, size) {
  const response = await call("GET", `/cases/${id}/outline/${d}`);
  const bytes = sized(await bytesOf(response, BYTES_LIMIT), size, "An outline");
  const state = check.one("untouched", "outlined", "empty")(
    response.headers.get("X-State"),
    "X-State",
  );
  return { mask: new Uint8Array(bytes), revision: revisionOf(response), state };
}

export async function putOutline(id, d, { mask, state, revision, seconds }) {
  const response = await call("PUT", `/cases/${id}/outline/${d}?state=${state}&seconds=${seconds}`, {
    body: mask,
    headers: { "If-Match": `"${revision}"`, "Content-Type": "application/x-fewmask-mask" },
  });
  const bytes = await bytesOf(response, JSON_LIMIT);
  return check.saved(JSON.parse(new TextDecoder().decode(bytes)), "outline");
}

export async function mask(id, axis, index, layer, round, size, signal) {
  const which = round === null ? "" : `&round=${round}`;
  const path = `/cases/${id}/mask/${axis}/${index}?layer=${layer}${which}`;
  const bytes = await bytesOf(await call("GET", path, { signal }), BYTES_LIMIT);
  return new Uint8Array(sized(bytes, size, "A mask"));
}

/** SAM's answer (uint8, 0 and 1) and its score, or null while it still reads the slice. */
export async function sam(id, d, sent, size, signal, verb = "") {
  const response = await call("POST", `/cases/${id}/sam/${d}${verb}`, {
    body: JSON.stringify(sent),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  if (response.status === 202) return null;
  const score = Number(response.headers.get("X-Score") ?? NaN);
  const bytes = sized(await bytesOf(response, BYTES_LIMIT), size, "SAM's mask");
  return { mask: new Uint8Array(bytes), score: Number.isFinite(score) ? score : null };
}

/** Points of a surface in mm from the centre, three by three, and their normals. */
export async function surface(id, layer, value, round) {
  const which = round === null ? "" : `&round=${round}`;
  const response = await call("GET", `/cases/${id}/surface?layer=${layer}&class=${value}${which}`);
  const count = headerNumber(response, "X-Count", 0, 60000);
  const bytes = sized(await bytesOf(response, 2 ** 20), count * 9, "A surface");
  return {
    count,
    points: Float32Array.from(new Int16Array(bytes, 0, count * 3), (v) => v / 4),
    normals: Float32Array.from(new Int8Array(bytes, count * 6, count * 3), (v) => v / 127),
  };
}
