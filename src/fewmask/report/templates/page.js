"use strict";
// The page reads without this: it scrolls, sorts, filters, enlarges and rates what is there.
(() => {
  const one = (id) => document.getElementById(id);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (name, settings = {}, ...inside) => {
    const made = Object.assign(document.createElement(name), settings);
    made.append(...inside);
    return made;
  };
  const natural = new Intl.Collator(undefined, { numeric: true }).compare;
  const wall = one("wall");
  const cards = wall ? all(".scan", wall) : [];

  // Classes of the body turn layers off and on.
  for (const box of all("input[data-off], input[data-on]")) {
    const apply = () => box.dataset.off
      ? document.body.classList.toggle(box.dataset.off, !box.checked)
      : document.body.classList.toggle(box.dataset.on, box.checked);
    box.addEventListener("change", apply);
    apply();
  }

  // Sort and filter.
  const number = (text) => (text === "" ? Infinity : Number(text));
  const orders = {
    place: (a, b) => a.place - b.place,
    case: (a, b) => natural(a.case, b.case),
    ml: (a, b) => b.ml - a.ml,
    dice: (a, b) => number(a.dice) - number(b.dice) || a.place - b.place,
  };
  const arrange = () => {
    const order = orders[one("sort").value];
    wall.append(...cards.sort((a, b) => order(a.dataset, b.dataset)));
    const word = one("find").value.trim().toLowerCase();
    const [kind, group] = one("filter").value.split(":");
    let shown = 0;
    for (const card of cards) {
      const data = card.dataset;
      card.hidden = !data.case.toLowerCase().includes(word)
        || (kind === "reasons" && data.reasons === "0")
        || (kind === "group" && data.group !== group);
      shown += !card.hidden;
    }
    one("shown").textContent = `${shown} of ${cards.length} scans`;
  };
  if (wall) {
    one("tools").hidden = false;
    one("sort").addEventListener("change", arrange);
    one("filter").addEventListener("change", arrange);
    one("find").addEventListener("input", arrange);
    arrange();
  }

  // Tables sort by a click on a heading; once more turns them round.
  const value = (cell) => {
    const text = cell.dataset.v ?? cell.textContent.trim();
    const found = text.match(/^[+-]?\d+(\.\d+)?/);
    return found ? Number(found[0]) : text === "-" ? Infinity : text;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? (a === b ? 0 : a - b) : natural(String(a), String(b));
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = all("tbody tr", table);
        const key = (row) => (column ? value(row.cells[column]) : row.cells[0].textContent);
        rows.sort((a, b) => compare(key(a), key(b)) * (down ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Strips: one slice at a time, with a slider.
  for (const strip of all("details.slices")) {
    const slices = all("li", strip);
    const range = make("input", {
      type: "range", min: 0, max: slices.length - 1, value: strip.dataset.start,
      ariaLabel: `Slice of ${strip.closest(".scan").dataset.case}`,
    });
    const told = make("output");
    const show = () => {
      slices.forEach((slice, place) => slice.classList.toggle("on", place === Number(range.value)));
      told.textContent = slices[range.value].querySelector("figcaption").textContent;
      range.setAttribute("aria-valuetext", told.textContent);
    };
    const step = (words, by) => {
      const button = make("button", { type: "button", ariaLabel: words }, by < 0 ? "‹" : "›");
      button.addEventListener("click", () => { range.value = Number(range.value) + by; show(); });
      return button;
    };
    const sheet = make("button", { type: "button", ariaPressed: "false" }, "all");
    sheet.addEventListener("click", () => {
      sheet.ariaPressed = String(!strip.classList.toggle("scrolls"));
    });
    range.addEventListener("input", show);
    strip.classList.add("scrolls");
    strip.querySelector("summary").after(
      make("div", { className: "scroller" }, step("One slice back", -1), range, step("One slice on", 1), told, sheet),
    );
    show();
  }

  // A picture on its own, as large as the window lets it be.
  const large = one("large");
  const enlarge = (picture) => {
    const copy = picture.cloneNode(true);
    copy.querySelector(".enlarge")?.remove();
    copy.classList.remove("small");
    const [wide, high] = copy.style.aspectRatio.split("/").map(Number);
    copy.style.width = `min(100%, calc(78vh * ${wide} / ${high}))`;
    one("stage").replaceChildren(copy);
    one("caption").textContent = copy.querySelector("img").alt;
    large.showModal();
  };
  for (const picture of all(".pic")) {
    const words = `Enlarge: ${picture.querySelector("img").alt}`;
    const button = make("button", { type: "button", className: "enlarge", ariaLabel: words }, "⤢");
    picture.append(button);
    picture.style.cursor = "zoom-in";
    picture.addEventListener("click", () => enlarge(picture));
  }
  one("close").addEventListener("click", () => large.close());
  large.addEventListener("click", (event) => { if (event.target === large) large.close(); });

  // Ratings stay in this window until they are saved.
  const questions = ["coverage", "spill", "boundary", "usable", "note"];
  let unsaved = false;
  const answers = (form) => questions.map((name) => form.elements[name].value.trim());
  const rated = () => all("form.rating").filter((form) => answers(form).some(Boolean));
  const tell = () => { one("rated").textContent = `${rated().length} of ${cards.length} rated`; };
  const field = (text) => (/[",\r\n;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const begin = () => {
    const on = one("raters").hidden;
    one("raters").hidden = !on;
    one("rate").ariaPressed = String(on);
    for (const card of cards) {
      let form = card.querySelector("form.rating");
      if (!form) {
        card.append(one("rating").content.cloneNode(true));
        form = card.querySelector("form.rating");
        form.ariaLabel = `Rating of ${card.dataset.case}`;
        form.addEventListener("input", () => { unsaved = true; tell(); });
        form.addEventListener("submit", (event) => event.preventDefault());
      }
      form.hidden = !on;
    }
    tell();
  };
  const save = () => {
    const rater = one("rater").value.trim();
    if (!rater) {
      one("rated").textContent = "first say who you are";
      one("rater").focus();
      return;
    }
    const lines = rated().map((form) => [rater, form.closest(".scan").dataset.case, ...answers(form)]);
    lines.sort((a, b) => natural(a[1], b[1]));
    const text = [["rater", "case", ...questions], ...lines].map((line) => line.map(field).join(",")).join("\n");
    const link = make("a", {
      href: URL.createObjectURL(new Blob([text, "\n"], { type: "text/csv" })),
      download: `ratings-${rater.replace(/[^\w-]+/g, "_")}.csv`,
    });
    link.click();
    URL.revokeObjectURL(link.href);
    unsaved = false;
  };
  if (wall) {
    one("rate").addEventListener("click", begin);
    one("save").addEventListener("click", save);
    window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
  }
})();
