using System.Net;
using System.Text;

namespace Bellman.Training.Reports;

/// <summary>Escaping and the style sheet of reports.</summary>
internal static class Html
{
    private const int SeriesColors = 14;

    /// <summary>The class that gives a chart's n-th line its colour and dash.</summary>
    internal static string SeriesClass(int index) => $"s{index % SeriesColors}";

    /// <summary>Text for element content and quoted attributes; control characters become their pictures.</summary>
    internal static string Escape(string text)
    {
        StringBuilder? clean = null;
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            bool isLone = char.IsSurrogate(c) && !(char.IsHighSurrogate(c) ? i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]) : i > 0 && char.IsHighSurrogate(text[i - 1]));
            if (!isLone && (c >= ' ' || c is '\n' or '\t') && c != 0x7F)
            {
                clean?.Append(c);
                continue;
            }
            clean ??= new StringBuilder(text, 0, i, text.Length + 8);
            clean.Append(isLone ? '\uFFFD' : c == 0x7F ? '\u2421' : (char)(0x2400 + c));
        }
        return WebUtility.HtmlEncode(clean?.ToString() ?? text);
    }

    /// <summary>Everything the page needs; no font, script or picture is loaded from anywhere.</summary>
    internal const string Style = """
        :root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2127;--soft:#626a75;--rule:#dfe2e6;--grid:#e9ebee;
        --c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b3589a;--c4:#c98a00;--c5:#3aa0d8;--c6:#5f6670;--right:#00764f;--wrong:#b34700}
        @media(prefers-color-scheme:dark){:root{--bg:#14161a;--card:#1c1f25;--ink:#e4e7eb;--soft:#9aa3af;--rule:#343942;--grid:#2a2e36;
        --c0:#4da3dc;--c1:#f08a4b;--c2:#3cc79b;--c3:#d88fc4;--c4:#e6b23c;--c5:#8fd0f5;--c6:#a9b1bc;--right:#3cc79b;--wrong:#f08a4b}}
        *{box-sizing:border-box}
        body{margin:0 auto;padding:28px 20px 60px;max-width:1180px;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
        h1{font-size:26px;line-height:1.2;margin:0 0 18px}h2{font-size:19px;margin:34px 0 12px}p{max-width:75ch}
        .note{color:var(--soft);font-size:13px;margin:6px 0}
        dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(190px,44%),1fr));gap:10px;margin:0 0 18px}
        dl.facts div{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:9px 13px}
        dt{color:var(--soft);font-size:12.5px}dd{margin:0;font-size:16px;font-weight:600;overflow-wrap:anywhere}
        figure{margin:0 0 16px;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px;min-width:0}
        figcaption{margin-bottom:6px}
        .tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr));gap:16px;margin-bottom:16px}.tiles figure{margin:0}.tiles:has(>:only-child){grid-template-columns:minmax(0,860px)}
        .scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}
        th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--rule);vertical-align:middle;white-space:nowrap}td.long{white-space:normal;min-width:260px}
        th{color:var(--soft);font-weight:600;font-size:12.5px}tr:last-child td{border-bottom:0}td.num,th.num{text-align:right}td.plot{width:34%;min-width:150px}
        svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}svg .name,svg .value{fill:var(--ink)}svg .label{font-size:12.5px}
        .grid{stroke:var(--grid)}.axis{stroke:var(--soft)}
        .line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-dasharray:var(--d,none)}.band{fill:var(--c);opacity:.16}.bar{stroke:var(--c);fill:none;opacity:.75}
        .dot{fill:var(--c);stroke:var(--card)}.hover{fill:var(--c);opacity:0}.hover:hover{opacity:1}.fill{fill:var(--c);opacity:.85}.whisker{stroke:var(--ink);fill:none;stroke-width:1.3}
        .s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3);--d:7 3}.s4{--c:var(--c4);--d:7 3}.s5{--c:var(--c5);--d:2 3}.s6{--c:var(--c6);--d:2 3}.s7{--c:var(--c1);--d:2 3}.s8{--c:var(--c0);--d:7 3}.s9{--c:var(--c2);--d:2 3}.s10{--c:var(--c3)}.s11{--c:var(--c4);--d:2 3}.s12{--c:var(--c5);--d:7 3}.s13{--c:var(--c1);--d:7 3}
        .level{--c:var(--soft);--d:9 5}
        .legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;color:var(--soft);margin:2px 0 0}.legend svg{width:22px;height:10px;display:inline-block;margin-right:5px}
        .tokens .text{font:14px/1.75 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere;white-space:pre-wrap;margin-top:6px}
        .tokens .text span{border-radius:3px;padding:2px 1px;margin-right:1px}.tokens .nan{outline:1px dashed var(--soft)}
        .prompt{color:var(--soft);border-left:3px solid var(--rule);padding-left:9px;margin-bottom:3px}
        .step{position:relative;padding-left:38px;border-top:1px dotted var(--rule)}.step i{position:absolute;left:0;width:28px;text-align:right;color:var(--soft);font-style:normal;font-size:11.5px}
        .badge{display:inline-block;border:1px solid;border-radius:10px;padding:0 9px;font-size:12.5px;font-weight:600;margin-right:4px}.badge.right{color:var(--right)}.badge.wrong{color:var(--wrong)}
        .scale{float:right;color:var(--soft);font-size:12.5px;font-variant-numeric:tabular-nums}.ramp{display:inline-block;width:110px;height:11px;border:1px solid var(--rule);border-radius:3px;margin:0 7px;vertical-align:-1px}
        details summary{cursor:pointer;font-weight:600}pre{font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-x:auto;margin:8px 0 0}
        @media(max-width:600px){svg text{font-size:17px}svg .label{font-size:17px}svg .name{font-size:14px}.tokens .scale{float:none;display:block}}
        @media print{body{max-width:none;padding:0}figure{break-inside:avoid}}
        """;
}
