// Making parts of the page: text is always set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** element("button", { class: "x", "aria-label": "y", onclick: f }, "text", child, ...) */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

const ICONS = {
  brush: "M4 20c3 0 5-1 5-4a2.5 2.5 0 0 0-5 0c0 2-1 3-2 3 .5.7 1.200 1 2 1zM9 13 19 3l2 2-10 10",
  eraser: "M8 20h12M5 15l9-9 5 5-9 9H8l-3-3z",
  polygon: "M5 19 3 9l9-6 9 7-4 9zM5 19h.01M3 9h.01M12 3h.01M21 10h.01M17 19h.01",
  fill: "M5 11 12 4l7 7-7 7zM12 4 9 1M20 15c1 2 1.500 2.600 1.500 3.500a1.500 1.500 0 0 1-3 0c0-.9.5-1.500 1.500-3.500z",
  box: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M12 8v8M8 12h8",
  click: "M12 3v4M12 17v4M3 12h4M17 12h4M12 12h.01",
  fit: "M9 4H4v5M4 4l6 6M15 20h5v-5M20 20l-6-6",
  queue: "M4 6h16M4 12h16M4 18h16",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.400 1.400M17.600 17.600 19 19M5 19l1.400-1.400M17.600 6.400 19 5",
  undo: "M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "m16 5 4 4-4 4M20 9H10a6 6 0 0 0 0 12h3",
  help: "M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 18h.01",
  untouched: "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14z",
  partly: "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM12 5v14",
  predicted: "M12 4l8 8-8 8-8-8z",
  corrected: "M4 17 15 6l3 3L7 20H4z",
  accepted: "m5 12.500 5 5L19 7",
  refused: "M6 6l12 12M18 6 6 18",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A state as shape, colour and word. */
export const badge = (state) =>
  element("span", { class: "badge", "data-state": state }, icon(state), element("span", {}, state));
