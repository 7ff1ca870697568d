"use strict";

// A link saves the document that is embedded under its own name.
for (const link of document.querySelectorAll("a.download")) {
  link.addEventListener("click", () => {
    const text = document.getElementById(link.download).textContent;
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  });
}

// A list shows the plot of its place.
for (const list of document.querySelectorAll(".axes select")) {
  const panes = list.closest("figure").querySelectorAll(".pane");
  list.addEventListener("change", () => panes.forEach((pane, place) => (pane.hidden = place !== list.selectedIndex)));
}

// What a mark tells: under the pointer, at a touch, and for those who use the keyboard.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
const hide = () => (tip.hidden = true);
const show = (mark) => {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const at = mark.getBoundingClientRect();
  const left = Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = at.top - tip.offsetHeight - 6;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above < 4 ? at.bottom + 6 : above}px`;
};
for (const title of document.querySelectorAll("figure svg g > title")) {
  const mark = title.parentNode;
  mark.setAttribute("aria-label", title.textContent);
  mark.setAttribute("role", "img");
  mark.setAttribute("tabindex", "0");
  title.remove();
  for (const event of ["pointerenter", "focus"]) mark.addEventListener(event, () => show(mark));
  for (const event of ["pointerleave", "blur"]) mark.addEventListener(event, hide);
}
document.addEventListener("scroll", hide);
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
