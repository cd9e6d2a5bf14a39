// Slices that the server has not yet acknowledged, kept in this browser (IndexedDB), so that neither a
// reload nor a stopped server loses a stroke.

const NAME = "fewmask";
const SLICES = "unsaved";
const asked = (request) =>
  new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });

let opened = null;

function open() {
  opened ??= new Promise((done, fail) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(SLICES, { keyPath: "key" });
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
  return opened;
}

const shelf = async (mode) => (await open()).transaction(SLICES, mode).objectStore(SLICES);

// A tab holds a lock of its own name while it lives: what it has not saved yet is its own business, and
// another tab offers only what no living tab is about to send.
export const TAB = crypto.randomUUID();
let letGo = () => {};
navigator.locks?.request(`fewmask-tab-${TAB}`, () => new Promise((done) => (letGo = done)));

/** This tab cannot send any more (its token is no longer good): another may offer what it left. */
export const release = () => letGo();

async function livingTabs() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return new Set(held.map((lock) => lock.name.replace("fewmask-tab-", "")));
}

export async function keep(entry) {
  await asked((await shelf("readwrite")).put({ ...entry, tab: TAB }));
}

export async function forget(key) {
  await asked((await shelf("readwrite")).delete(key));
}

/** What earlier tabs left unsaved of this folder. */
export async function left(folder) {
  const [all, living] = [await asked((await shelf("readonly")).getAll()), await livingTabs()];
  return all.filter((entry) => entry.folder === folder && !living.has(entry.tab));
}
