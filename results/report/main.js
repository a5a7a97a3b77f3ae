"use strict";
// Starts the page: theme first, then each section.

setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches));
byId("theme").addEventListener("click", () => setTheme(!isDark()));
byId("title").textContent = DATA.title;
byId("subtitle").textContent = (() => {
  const samples = DATA.summary.rows.reduce((sum, row) => sum + row.n, 0);
  const failed = DATA.summary.rows.reduce((sum, row) => sum + row.failed, 0);
  const said = `${DATA.strategies.length} strategies, ${DATA.tasks.length} suites, ${number(samples, 0)} samples`;
  return failed ? `${said}, ${number(failed, 0)} of them failed` : said;
})();
startTables();
startChart();
startViewer();
document.documentElement.dataset.ready = "true";
