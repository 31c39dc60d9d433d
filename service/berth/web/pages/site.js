// Shows the address of this page in the examples.
const base = location.origin + location.pathname.replace(/\/$/, "");
for (const element of document.querySelectorAll(".origin")) element.textContent = base;
