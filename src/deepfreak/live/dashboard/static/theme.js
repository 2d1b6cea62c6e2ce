// Before anything is drawn: the scheme that was chosen last time.
"use strict";
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // storage may be forbidden; the system's scheme is used then
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
