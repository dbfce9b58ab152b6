"""The style sheet of every page: light and dark, wide and narrow, on a screen and on paper."""

# Every colour is a variable, so that the dark page replaces variables and nothing else. Charts are SVG with
# colours of their own, repainted through the classes that `chart` gives to the marks.
_CSS = """
:root{color-scheme:light dark;--page:#f6f8fa;--card:#fff;--ink:#1f2328;--muted:#59636e;--line:#d1d9e0;
--good:#00684a;--bad:#b3400a;--soft:#f0f3f6}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;--ink:#e6edf3;--muted:#9198a1;
--line:#30363d;--good:#3fcf9b;--bad:#ff9a5c;--soft:#0d1117}
svg .bg{fill:var(--card)}svg .ink{fill:var(--ink)}svg .muted{fill:var(--muted)}svg .grid{stroke:#2a3038}
svg .axis{stroke:#6e7681}DARK}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:20px 16px 60px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
h1{font-size:24px;margin:8px 0 2px;overflow-wrap:anywhere}h2{font-size:18px;margin:36px 0 10px}
p{margin:4px 0;color:var(--muted)}
.metrics{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.metric{flex:1 1 120px}
.metric b{display:block;font-size:28px;line-height:1.25;font-weight:650;white-space:nowrap;
font-variant-numeric:tabular-nums}
.metric.main{flex:4 1 300px}.metric.main b{font-size:clamp(28px,8vw,40px)}
.metric span{color:var(--muted);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:14px}
.charts svg{display:block;width:100%;height:auto;border:1px solid var(--line);border-radius:8px;
background:var(--card)}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line)}
th,td{text-align:left;vertical-align:top;padding:8px 12px;border-top:1px solid var(--line)}
th{font-size:13px;color:var(--muted);font-weight:600}
pre{margin:0 0 4px;white-space:pre-wrap;overflow-wrap:anywhere;max-height:20em;overflow:auto;
font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;unicode-bidi:plaintext}
small{color:var(--muted)}.right{color:var(--good);font-weight:650}.wrong{color:var(--bad);font-weight:650}
.dual{border-left:3px solid var(--line);padding-left:10px;margin-bottom:8px}
summary{cursor:pointer;color:var(--muted);margin:14px 0}
.card,.metric{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card pre{max-height:none}.empty{color:var(--muted);font-style:italic}
td.judged{white-space:nowrap}td.ask{width:24%}td.said{width:26%}
@media(max-width:700px){thead{display:none}table,tbody,tr,td,td.ask,td.said{display:block;width:auto}
td{border-top:0;padding:4px 12px}tr{border-top:1px solid var(--line);padding:8px 0}
td::before{content:attr(data-name);display:block;font-size:12px;color:var(--muted)}}
@media print{body{background:#fff}pre{max-height:none}}
"""
# The colours of `marks.PALETTE`, lighter, in the same order.
_DARK_PALETTE = ("#58b0ea", "#ff8c42", "#2fc79a", "#e5a3c8", "#e0bb4f", "#9ad7ff", "#a5a5a5")


def style_sheet() -> str:
    """Returns the CSS, with the lines and bands of charts repainted where the reader prefers dark pages."""
    dark = "".join(
        f"svg .s{i}{{stroke:{colour}}}svg .f{i}{{fill:{colour}}}" for i, colour in enumerate(_DARK_PALETTE)
    )
    return _CSS.replace("DARK", dark)
