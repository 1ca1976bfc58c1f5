"use strict";
// A noise and what becomes of it are one row of the run. To point at it in one panel shows it in all of them.

function each(selector, act) { document.querySelectorAll(selector).forEach(act); }

// The index of what is chosen is kept here; `nearest` finds it under a pointer, `show` marks it in every panel.
function choosable(links, count, nearest, show) {
  const panels = links.querySelector(".panels");
  let chosen = -1;
  const choose = (index) => { chosen = index; links.classList.toggle("on", index >= 0); show(index); };
  links.querySelectorAll(".panel .plate").forEach((plate, place) => {
    const look = (event) => choose(nearest(plate, place, event));
    plate.addEventListener("pointermove", look);
    plate.addEventListener("pointerdown", look);
  });
  panels.tabIndex = 0;
  panels.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") choose(-1);
    if (!step) return;
    event.preventDefault();
    choose(chosen < 0 ? 0 : (chosen + step + count) % count);
  });
  window.addEventListener("resize", () => show(chosen));
}

function rounded(point) { return "(" + point.map((value) => value.toFixed(2)).join(", ") + ")"; }

each(".links.points", (links) => {
  const panels = JSON.parse(links.querySelector("script").textContent);
  const plates = [...links.querySelectorAll(".panel .plate")];
  const thread = links.querySelector(".threads path"), said = links.querySelector(".said"), hint = said.textContent;
  const at = (place, index) => panels[place].points.slice(2 * index, 2 * index + 2);
  choosable(links, panels[0].points.length / 2, (plate, place, event) => {
    const frame = plate.firstElementChild.getBoundingClientRect(), side = 200 / frame.width;
    const x = (event.clientX - frame.left) * side, y = (event.clientY - frame.top) * side;
    let best = -1, least = Infinity;
    for (let index = 0; index < panels[place].points.length / 2; index++) {
      const [a, b] = at(place, index), away = (a - x) ** 2 + (b - y) ** 2;
      if (away < least) { least = away; best = index; }
    }
    return best;
  }, (index) => {
    if (index < 0) { thread.setAttribute("d", ""); said.textContent = hint; return; }
    const whole = links.querySelector(".panels").getBoundingClientRect(), stops = [], words = [];
    plates.forEach((plate, place) => {
      const [x, y] = at(place, index), mark = plate.querySelector(".mark"), reach = panels[place].reach;
      mark.setAttribute("cx", x); mark.setAttribute("cy", y);
      const frame = plate.firstElementChild.getBoundingClientRect(), side = frame.width / 200;
      stops.push((frame.left - whole.left + x * side).toFixed(1) + " " + (frame.top - whole.top + y * side).toFixed(1));
      words.push(panels[place].name + " " + rounded([(x / 100 - 1) * reach, (1 - y / 100) * reach]));
    });
    thread.setAttribute("d", "M" + stops[0] + stops.slice(1).map((stop) => "M" + stops[0] + "L" + stop).join(""));
    said.textContent = words[0] + " becomes: " + words.slice(1).join(", ");
  });
});

each(".links.images", (links) => {
  const grid = JSON.parse(links.querySelector("script").textContent);
  const plates = [...links.querySelectorAll(".panel .plate")], said = links.querySelector(".said"), hint = said.textContent;
  choosable(links, grid.count, (plate, place, event) => {
    const frame = plate.querySelector("img").getBoundingClientRect();
    const part = (value, size, most) => Math.min(most - 1, Math.max(0, Math.floor(value / size * most)));
    const column = part(event.clientX - frame.left, frame.width, grid.columns);
    return Math.min(grid.count - 1, part(event.clientY - frame.top, frame.height, grid.rows) * grid.columns + column);
  }, (index) => {
    if (index < 0) { said.textContent = hint; return; }
    const column = index % grid.columns, row = Math.floor(index / grid.columns);
    plates.forEach((plate) => {
      const box = plate.querySelector(".box"), sheet = plate.querySelector("img"), lens = plate.parentNode.querySelector(".lens");
      Object.assign(box.style, { left: 100 * column / grid.columns + "%", top: 100 * row / grid.rows + "%",
        width: 100 / grid.columns + "%", height: 100 / grid.rows + "%" });
      const wide = sheet.naturalWidth / grid.columns, high = sheet.naturalHeight / grid.rows;
      const zoom = Math.max(1, Math.floor(256 / wide)), pen = lens.getContext("2d");
      lens.width = wide * zoom; lens.height = high * zoom;
      pen.imageSmoothingEnabled = false;
      pen.drawImage(sheet, column * wide, row * high, wide, high, 0, 0, lens.width, lens.height);
    });
    said.textContent = "Noise " + (index + 1) + " of " + grid.count + (grid.names.length ? ", class " + grid.names[index] : "");
  });
});

each(".plate > img.chart", (picture) => {
  const plate = picture.parentNode, button = document.createElement("button");
  const fit = () => { button.hidden = !plate.classList.contains("large") && picture.naturalWidth <= picture.clientWidth * 1.15; };
  button.className = "enlarge"; button.type = "button"; button.textContent = "enlarge";
  button.addEventListener("click", () => {
    button.textContent = plate.classList.toggle("large") ? "fit to page" : "enlarge";
    fit();
  });
  plate.after(button);
  picture.complete ? fit() : picture.addEventListener("load", fit);
  window.addEventListener("resize", fit);
});

// What is folded is printed, too.
window.addEventListener("beforeprint", () => each("details:has(figure)", (folded) => { folded.open = true; }));
