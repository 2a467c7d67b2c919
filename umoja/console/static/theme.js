// Sets light or dark before anything is painted; the rest of the script comes later.
"use strict";
try {
  const kept = localStorage.getItem("umoja-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* storage may be forbidden: the system's choice holds */ }
