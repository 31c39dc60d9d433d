// Applies the colours that were chosen in this browser before anything is painted.
try {
  const theme = localStorage.getItem("berth.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* Storage is blocked: the colours of the system apply. */ }
