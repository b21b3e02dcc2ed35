using System.Text;

namespace Bellman.Training.Reports;

/// <summary>A page that shows search trees: nothing is loaded from anywhere, and rows exist only for branches that are open.</summary>
internal static class TreePage
{
    /// <summary>The page for trees given as JSON objects.</summary>
    public static string Html(IReadOnlyList<string> trees)
    {
        var page = new StringBuilder("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n")
            .Append("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>Search trees</title>\n<style>\n")
            .Append(Reports.Html.Style).Append('\n').Append(Style).Append("\n</style></head><body>\n").Append(Body).Append("<script id=\"data\" type=\"application/json\">[");
        for (int i = 0; i < trees.Count; i++)
        {
            if (i > 0) page.Append(",\n");
            // No text of a model may end the element early.
            page.Append(trees[i].Replace("<", "\\u003c", StringComparison.Ordinal));
        }
        return page.Append("]</script>\n<script>\n").Append(Script).Append("\n</script></body></html>\n").ToString();
    }

    private const string Style = """
        .bar{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin:10px 0}.bar select,.bar button,.bar input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:4px 10px}
        .cols{display:grid;grid-template-columns:minmax(0,1fr) 340px;gap:16px}@media(max-width:860px){.cols{grid-template-columns:1fr}}
        #tree{background:var(--card);border:1px solid var(--rule);border-radius:8px;overflow:auto;max-height:75vh;font:13px/1.5 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
        .row{display:flex;gap:8px;white-space:pre;padding:1px 8px;border-left:4px solid transparent;cursor:pointer}.row:hover{background:var(--grid)}
        .row.pick{outline:2px solid var(--c0);outline-offset:-2px}.row.path{border-left-color:var(--c2)}.row.pruned .text{opacity:.5}
        .row b{font-weight:400;width:1em;text-align:center;flex:none;color:var(--soft)}.num{flex:none;width:5.5em;text-align:right;border-radius:3px;padding:0 3px}.text{overflow:hidden;text-overflow:ellipsis}
        .row .state{color:var(--soft)}#side{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 14px;overflow-wrap:anywhere;max-height:75vh;overflow:auto}
        #side pre{white-space:pre-wrap;font-size:13px;margin:6px 0}#side mark{background:none;color:inherit;border-bottom:2px solid var(--c2)}
        """;

    private const string Body = """
        <h1>Search trees</h1>
        <div class="bar"><select id="problem" aria-label="problem"></select><button id="winning">winning path</button><button id="kept">kept steps</button><button id="all">open all</button><button id="none">close all</button><input id="find" placeholder="find text" aria-label="find text"><span id="facts" class="note"></span></div>
        <div class="cols"><div id="tree" role="tree" tabindex="0"></div><div id="side"></div></div>

        """;

    private const string Script = """
        const trees = JSON.parse(document.getElementById('data').textContent);
        const $ = id => document.getElementById(id), tree = $('tree'), side = $('side');
        let nodes = [], open = new Set(), winning = new Set(), picked = 0, low = 0, high = 1, now = null;
        const number = (v, d = 3) => v === null || v === undefined ? '–' : v.toFixed(d);
        function colour(v) {
          if (v === null || v === undefined) return 'transparent';
          const t = high > low ? (v - low) / (high - low) : .5;
          return `color-mix(in srgb, var(${t > .5 ? '--right' : '--wrong'}) ${Math.round(Math.abs(t - .5) * 90)}%, transparent)`;
        }
        function show(index) {
          now = trees[index];
          nodes = now.nodes.map(n => ({...n, children: []}));
          for (const n of nodes) if (n.parent !== undefined) nodes[n.parent].children.push(n.id);
          const values = nodes.map(n => n.value).filter(v => v !== null && v !== undefined);
          low = Math.min(...values); high = Math.max(...values);
          winning = new Set(); for (let n = now.best; n !== undefined; n = nodes[n].parent) winning.add(n);
          open = new Set(winning); picked = now.best;
          $('facts').textContent = `${nodes.length - 1} steps, ${now.calls} samples, ${now.distinct_tokens} distinct tokens; ${now.correct ? 'right' : now.finished ? 'wrong' : 'not finished'}`;
          draw();
        }
        function cell(kind, text) { const e = document.createElement(kind === 'b' ? 'b' : 'span'); e.className = kind; e.textContent = text; return e; }
        function draw() {
          const rows = document.createDocumentFragment(), stack = [[0, 0]];
          while (stack.length) {
            const [id, depth] = stack.pop(), n = nodes[id], row = document.createElement('div');
            row.className = 'row' + (winning.has(id) ? ' path' : '') + (id === picked ? ' pick' : '') + (n.kept || winning.has(id) ? '' : ' pruned');
            row.style.paddingLeft = 8 + depth * 16 + 'px'; row.dataset.id = id; row.setAttribute('role', 'treeitem');
            row.append(cell('b', n.children.length ? (open.has(id) ? '▾' : '▸') : ''));
            const value = cell('num', number(n.value)); value.style.background = colour(n.value); row.append(value);
            row.append(cell('state', n.state === 'finished' ? '■' : n.state === 'cut' ? '✂' : '·'), cell('text', n.text.trim().replace(/\n/g, ' ⏎ ') || '(empty)'));
            if (n.visits > 1) row.append(cell('state', '×' + n.visits));
            rows.append(row);
            if (open.has(id)) for (let i = n.children.length - 1; i >= 0; i--) stack.push([n.children[i], depth + 1]);
          }
          tree.replaceChildren(rows);
          tell();
        }
        function tell() {
          const n = nodes[picked], list = document.createElement('dl'), text = document.createElement('pre'), path = [];
          const facts = [['value', number(n.value, 4)], ['advantage', number(n.advantage, 4)], ['log-prob', number(n.log_prob)], ['visits', n.visits], ['tokens', n.ids.length], ['state', n.state + (n.kept ? ', kept' : ', pruned') + (picked === now.best ? ', the answer' : '')]];
          list.className = 'facts';
          for (const [name, value] of facts) { const d = document.createElement('div'), t = document.createElement('dt'), v = document.createElement('dd'); t.textContent = name; v.textContent = value; d.append(t, v); list.append(d); }
          for (let m = picked; m !== undefined; m = nodes[m].parent) path.unshift(m);
          for (const m of path) { const s = document.createElement(m === picked ? 'mark' : 'span'); s.textContent = nodes[m].text; text.append(s); }
          side.replaceChildren(list, text, cell('note', 'reference: ' + now.reference));
        }
        tree.addEventListener('click', e => {
          const row = e.target.closest('.row'); if (!row) return;
          const id = +row.dataset.id;
          if (id === picked || e.target.tagName === 'B') { if (open.has(id)) open.delete(id); else open.add(id); }
          picked = id; draw();
        });
        tree.addEventListener('keydown', e => {
          const rows = [...tree.children], at = rows.findIndex(r => +r.dataset.id === picked);
          if (e.key === 'ArrowDown' && at + 1 < rows.length) picked = +rows[at + 1].dataset.id;
          else if (e.key === 'ArrowUp' && at > 0) picked = +rows[at - 1].dataset.id;
          else if (e.key === 'ArrowRight') open.add(picked);
          else if (e.key === 'ArrowLeft') { if (open.has(picked)) open.delete(picked); else if (nodes[picked].parent !== undefined) picked = nodes[picked].parent; }
          else return;
          e.preventDefault(); draw(); tree.querySelector('.pick').scrollIntoView({block: 'nearest'});
        });
        const reopen = test => { open = new Set([0]); for (const n of nodes) if (test(n)) for (let m = n.id; m !== undefined; m = nodes[m].parent) open.add(m); draw(); };
        $('winning').onclick = () => { picked = now.best; reopen(n => winning.has(n.id)); };
        $('kept').onclick = () => reopen(n => n.kept);
        $('all').onclick = () => reopen(() => true);
        $('none').onclick = () => { picked = 0; open = new Set(); draw(); };
        $('find').oninput = e => { const t = e.target.value; if (!t) return; const hit = nodes.find(n => n.text.includes(t)); if (hit) { picked = hit.id; reopen(n => n.text.includes(t)); tree.querySelector('.pick')?.scrollIntoView({block: 'nearest'}); } };
        trees.forEach((t, i) => { const o = document.createElement('option'); o.value = i; o.textContent = `line ${t.line}: ${t.question.slice(0, 60)}${t.correct ? ' ✓' : ''}`; $('problem').append(o); });
        $('problem').onchange = e => show(+e.target.value);
        if (trees.length) show(0); else side.textContent = 'There is no tree.';
        """;
}
