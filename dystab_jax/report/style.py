"""How the report looks: wide and narrow, light and dark, on paper."""

from dystab_jax.report.pictures import COLORS

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5d6772; --line: #dadfe4;
  --paper: #ffffff; --panel: #f5f7f9; --link: #0b63b5; --low: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7eb; --soft: #9aa5b1; --line: #3a424b; --paper: #15181c; --panel: #1e2329;
    --link: #7db8f0; --low: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 24px 64px; max-width: 1240px; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
header { border-bottom: 1px solid var(--line); padding: 28px 0 14px; }
h1 { font-size: 25px; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 22px 0 6px; }
header p { margin: 0 0 10px; color: var(--soft); }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
nav a, .files a { margin-right: 18px; white-space: nowrap; }
.note { color: var(--soft); font-size: 13.5px; max-width: 90ch; margin: 6px 0 12px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px; text-align: right; border-bottom: 1px solid var(--line);
  font-weight: normal; }
th:first-child { text-align: left; padding-left: 2px; }
tr:first-child th { color: var(--soft); font-size: 13px; }
td.text, th.text { text-align: left; min-width: 240px; color: var(--soft); font-size: 13.5px; }
.model { white-space: nowrap; }
.model::before { content: ""; display: inline-block; width: 9px; height: 9px; margin-right: 6px;
  border-radius: 2px; background: var(--soft); }
MODEL_COLORS
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 20px; margin: 0 0 12px; }
dt { color: var(--soft); }
dd { margin: 0; }
summary { cursor: pointer; color: var(--link); }
pre { background: var(--panel); padding: 12px; overflow-x: auto;
  font: 12px/1.4 ui-monospace, monospace; }
svg { display: block; width: 100%; min-width: 640px; height: auto; color: var(--ink); }
figure { margin: 0 0 12px; padding: 8px 10px 10px; background: var(--panel); border-radius: 6px;
  break-inside: avoid; }
figcaption { font-size: 13.5px; margin-bottom: 6px; display: flex; flex-wrap: wrap; gap: 0 8px; }
.right { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; }
.right b { color: var(--ink); margin-right: 8px; }
.worst { color: var(--low); border: 1px solid currentColor; border-radius: 4px; padding: 0 6px;
  font-size: 12px; line-height: 19px; }
.strip { display: grid; grid-template-columns: repeat(6, 1fr); gap: 6px; }
.strip img { width: 100%; height: auto; display: block; border-radius: 3px; }
.strip span { font-size: 12px; color: var(--soft); }
@media screen and (max-width: 760px) { .strip { grid-template-columns: repeat(3, 1fr); }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: 8px; } body { padding: 0 12px 40px; } }
@media print {
  :root { --ink: #000; --soft: #444; --line: #ccc; --paper: #fff; --panel: #fff; --link: #000;
    --low: #a00; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 11px; }
  nav, details { display: none; }
  h2 { break-after: avoid; }
  svg { break-inside: avoid; min-width: 0; }
  .wide { overflow: visible; }
  .model::before { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
""".replace(
    "MODEL_COLORS",
    "\n".join(
        f".model.{model}::before {{ background: rgb({red} {green} {blue}); }}"
        for model, (red, green, blue) in COLORS.items()
    ),
)
"""Content of the page's style element."""
