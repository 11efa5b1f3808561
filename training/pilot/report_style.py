"""The report's style sheet: one column that fits a phone, a screen in light or dark, and paper."""

from __future__ import annotations

CSS = """
:root { --ink: #1b1f24; --muted: #66707c; --line: #d9dee4; --paper: #f4f6f8; --card: #ffffff;
  --accent: #1458c4; --warm: #a85400; --good: #14713a; --bad: #b3261e; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --muted: #98a2ae; --line: #323a44;
  --paper: #12161b;
  --card: #1a2027; --accent: #7db0ff; --warm: #f0a35e; --good: #6ccf90; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
    }
main { max-width: 780px; margin: 0 auto; padding: 32px 16px 64px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 1.12rem; margin: 0 0 8px; }
p { margin: 0 0 12px; }
code { font: 0.86em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.quiet, figcaption, .note { color: var(--muted); font-size: 0.9rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding:
  20px;
  margin-top: 16px; }
.verdict { border-left: 6px solid var(--bad); }
.verdict.ready { border-left-color: var(--good); }
.verdict p { margin: 0; font-size: 1.05rem; }
.keys { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px;
  margin-top: 16px; }
.keys div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding:
  12px 14px; }
.keys b { display: block; font-size: 1.35rem; line-height: 1.25; font-variant-numeric: tabular-nums;
  }
.keys span { color: var(--muted); font-size: 0.84rem; }
.wide { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric:
  tabular-nums; }
th, td { padding: 6px 12px 6px 0; text-align: left; vertical-align: top; border-bottom: 1px solid
  var(--line); }
tr:last-child td { border-bottom: 0; }
th { color: var(--muted); font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; padding: 6px 0 6px 12px; }
td small { display: block; color: var(--muted); }
tr.own td { font-weight: 600; }
tr.own td small { font-weight: 400; }
.pass, .fail { font-weight: 700; white-space: nowrap; }
.pass { color: var(--good); }
.fail { color: var(--bad); }
figure { margin: 0 0 12px; }
figure svg { display: block; width: 100%; max-width: 560px; height: auto; margin: 0 auto; }
figure svg text { fill: var(--ink); }
@media (max-width: 520px) { main { padding: 20px 10px 40px; } section { padding: 14px; }
  th, td { padding-right: 8px; } td.number, th.number { padding-left: 8px; } .keys {
    grid-template-columns: 1fr 1fr; } }
@media print { :root { --ink: #000; --muted: #444; --line: #bbb; --paper: #fff; --card: #fff;
  --accent: #1458c4;
    --warm: #a85400; --good: #14713a; --bad: #b3261e; }
  main { max-width: none; padding: 0; } body { font-size: 10.5pt; } section { break-inside: avoid;
    padding: 12px; } }
"""
