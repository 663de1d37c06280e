"""The page's style sheet and its one small script."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fcfbf8; --card: #ffffff; --ink: #1d1c1a; --soft: #625e57; --rule: #e2ddd3; --screen: #16150f;
  --run0: #1f6fb8; --run1: #c55a11; --run2: #2e8557; --run3: #7d4fb0; --real: #55514a;
  --better: #1d7a46; --worse: #b3261e; --undecided: #6b675f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171613; --card: #201f1b; --ink: #ece8df; --soft: #a8a297; --rule: #38352f; --screen: #0d0c0a;
    --run0: #74b2ef; --run1: #f0a060; --run2: #7cc99c; --run3: #bf9be6; --real: #b8b1a4;
    --better: #74cc98; --worse: #f2938c; --undecided: #a8a297;
  }
}
* { box-sizing: border-box; }
html { font-size: 17px; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; padding: 3.2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.58 Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif Pro", Georgia, serif;
}
main { max-width: 66rem; margin: 0 auto; }
header > p, section > p, section > ul { max-width: 46rem; }
li { margin: .2rem 0; }
h1 { font-size: 2.1rem; line-height: 1.18; margin: 0 0 .5rem; letter-spacing: -.012em; max-width: 44rem; }
h2 { font-size: 1.36rem; line-height: 1.25; margin: 3.2rem 0 .5rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); }
h3 { font: 600 .86rem/1.3 system-ui, sans-serif; margin: 0 0 .35rem; }
.kicker, .legend, th, td, .note, .chip, button, .clip, dl, pre, nav, footer {
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif;
}
.kicker { font-size: .8rem; color: var(--soft); margin: 0 0 .9rem; }
.lead { font-size: 1.16rem; line-height: 1.5; }
.note { font-size: .82rem; line-height: 1.5; color: var(--soft); max-width: 48rem; }
nav { font-size: .84rem; margin: 1.4rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; }
a { color: var(--run0); text-underline-offset: .18em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.35; margin: .8rem 0; }
th { text-align: left; font-weight: 600; color: var(--soft); padding: .35rem 1rem .35rem 0; vertical-align: bottom; }
td { padding: .42rem 1rem .42rem 0; border-top: 1px solid var(--rule); vertical-align: middle; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small, th small { color: var(--soft); font-weight: 400; display: block; font-size: .76rem; }
.chip { font-size: .78rem; font-weight: 600; white-space: nowrap; }
.chip.better { color: var(--better); } .chip.worse { color: var(--worse); }
.chip.undecided, .chip.few { color: var(--undecided); }
.chip.none { color: var(--soft); font-weight: 400; }
.forest { display: block; overflow: visible; }
.forest .zero { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 2; }
.forest .reach { stroke-width: 2.4; stroke: currentColor; } .forest circle { fill: currentColor; }
.forest.better { color: var(--better); } .forest.worse { color: var(--worse); }
.forest.undecided, .forest.few { color: var(--undecided); }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(19.5rem, 1fr)); gap: 1.4rem; margin: 1rem 0; }
.clip { font-size: .8rem; line-height: 1.4; margin: 0; min-width: 0; }
.clip video { display: block; width: 100%; background: var(--screen); }
.clip .screen { background: var(--screen); border-radius: 5px; overflow: hidden; padding: 0 0 2px; }
.clip .heads { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; background: var(--screen); }
.clip .heads span { padding: .38rem .3rem; font-size: .74rem; font-weight: 600; text-align: center; color: #d9d3c6; }
.clip .heads .run0 { color: #74b2ef; } .clip .heads .run1 { color: #f0a060; }
.clip .heads .run2 { color: #7cc99c; } .clip .heads .run3 { color: #bf9be6; }
.clip figcaption { padding: .5rem .1rem 0; } .clip figcaption small { color: var(--soft); display: block; }
button {
  font-size: .82rem; padding: .4rem .9rem; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--rule); border-radius: 5px; margin: 0 .4rem 0 0;
}
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.6rem 1.8rem;
  margin: 1rem 0; }
.charts > div { min-width: 0; display: flex; flex-direction: column; }
.chart { width: 100%; height: auto; display: block; margin-top: auto;
  font-family: system-ui, "Liberation Sans", Arial, sans-serif; }
.chart .grid { stroke: var(--rule); stroke-width: 1; } .chart .axis { stroke: var(--soft); stroke-width: 1; }
.chart .tick { fill: var(--soft); font-size: 10.5px; font-variant-numeric: tabular-nums; }
.chart .label { fill: var(--soft); font-size: 11px; }
.curve { fill: none; stroke-width: 1.9; stroke-linejoin: round; stroke: currentColor; }
.dot { fill: currentColor; } .band { fill: currentColor; opacity: .15; stroke: none; }
.curve.run0, .dot.run0, .band.run0, .key.run0 { color: var(--run0); }
.curve.run1, .dot.run1, .band.run1, .key.run1 { color: var(--run1); }
.curve.run2, .dot.run2, .band.run2, .key.run2 { color: var(--run2); }
.curve.run3, .dot.run3, .band.run3, .key.run3 { color: var(--run3); }
.curve.real, .dot.real, .band.real, .key.real { color: var(--real); }
.curve.real { stroke-dasharray: 5 3; }
.legend { font-size: .82rem; display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; margin: .6rem 0; }
.key::before { content: ""; display: inline-block; width: 1.5em; height: 0; border-top: 3px solid currentColor;
  vertical-align: .28em; margin-right: .5em; }
.key.real::before { border-top-style: dashed; }
.key span { color: var(--ink); }
dl { font-size: .86rem; display: grid; grid-template-columns: minmax(8rem, max-content) 1fr;
  gap: .35rem 1.4rem; max-width: 52rem; }
dt { font-weight: 600; } dd { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
dd code, td code { font-size: .92em; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre { font-size: .76rem; line-height: 1.5; background: var(--card); border: 1px solid var(--rule); border-radius: 5px;
  padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--rule); font-size: .78rem;
  color: var(--soft); }
@media print { body { padding: 0; } button, nav { display: none; } .clip, .charts > div { break-inside: avoid; } }
"""

SCRIPT = """
const videos = [...document.querySelectorAll("video")];
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let playing = !still;
function apply() {
  for (const video of videos) { if (playing) video.play().catch(() => {}); else video.pause(); }
  document.getElementById("play").textContent = playing ? "Pause all clips" : "Play all clips";
}
document.getElementById("play").onclick = () => { playing = !playing; apply(); };
document.getElementById("speed").onclick = (event) => {
  const slow = videos[0].playbackRate === 1;
  for (const video of videos) video.playbackRate = slow ? 0.4 : 1;
  event.target.textContent = slow ? "Normal speed" : "Slow motion";
};
apply();
"""
