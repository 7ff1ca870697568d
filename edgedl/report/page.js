"use strict";
const raw = document.getElementById("raw");
const link = document.getElementById("download");
if (raw && link) {
  link.addEventListener("click", () => {
    link.href = URL.createObjectURL(new Blob([raw.textContent], { type: "application/json" }));
  });
}
