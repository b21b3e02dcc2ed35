using System.Text;

namespace Bellman.Training.Reports;

/// <summary>A page that shows search trees: nothing is loaded from anywhere, and only the rows in sight exist.</summary>
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
        .bar{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin:10px 0}.bar select,.bar button,.bar input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:4px 10px;max-width:100%}
        .cols{display:grid;grid-template-columns:minmax(0,1fr) 340px;gap:16px}
        #tree{position:relative;background:var(--card);border:1px solid var(--rule);border-radius:8px;overflow:auto;height:75vh;font:13px/22px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
        .row{position:absolute;left:0;right:0;height:22px;box-sizing:border-box;display:flex;gap:8px;white-space:pre;padding:1px 8px;border-left:4px solid transparent;cursor:pointer;overflow:hidden;line-height:20px}.row:hover{background:var(--grid)}
        .row.pick{outline:2px solid var(--c0);outline-offset:-2px}.row.path{border-left-color:var(--c2)}.row.pruned .text{opacity:.55}.row.hit .text{text-decoration:underline;text-decoration-color:var(--c0);text-underline-offset:3px;opacity:1}
        .row b{font-weight:400;width:1em;text-align:center;flex:none;color:var(--soft)}.num{flex:none;width:5.5em;text-align:right;border-radius:3px;padding:0 3px}.text{overflow:hidden;text-overflow:ellipsis}
        .row .state{color:var(--soft);flex:none}#side{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 14px;overflow-wrap:anywhere;max-height:75vh;box-sizing:border-box;overflow:auto}
        #side .facts{display:grid;grid-template-columns:1fr 1fr;gap:6px;margin:0 0 8px}#side .facts div{padding:4px 10px}#side .facts div:last-child{grid-column:1/-1}
        @media(max-width:860px){.cols{grid-template-columns:minmax(0,1fr)}#tree{height:55vh}}
        #side pre{white-space:pre-wrap;font-size:13px;margin:6px 0}#side mark{background:none;color:inherit;border-bottom:2px solid var(--c2)}
        """;

    private const string Body = """
        <h1>Search trees</h1>
        <div class="bar"><select id="problem" aria-label="problem"></select><button id="winning">winning path</button><button id="kept">kept steps</button><button id="all">open all</button><button id="none">close all</button></div>
        <div class="bar"><select id="filter" aria-label="filter"><option value="">all steps</option><option value="kept">only kept</option><option value="finished">only finished</option><option value="cut">only cut</option><option value="many">only drawn more than once</option></select><input id="find" placeholder="find text" aria-label="find text"><span id="hits" class="note"></span></div>
        <p id="facts" class="note"></p>
        <div class="cols"><div id="tree" role="tree" tabindex="0"></div><div id="side"></div></div>
        <p class="note">· open &#160; ■ finished &#160; ✂ cut by a limit &#160; ×n samples or visits &#160; the bar on the left marks the way to the answer; pale steps were not followed &#160; ↑ ↓ ← → move</p>

        """;

    // Only the rows in sight exist: a tree of any size opens at once.
    private const string Script = """
        const trees = JSON.parse(document.getElementById('data').textContent), height = 22;
        const $ = id => document.getElementById(id), tree = $('tree'), side = $('side'), room = document.createElement('div'), tests = {kept: n => n.kept, finished: n => n.state === 'finished', cut: n => n.state === 'cut', many: n => n.visits > 1};
        let nodes = [], open = new Set(), winning = new Set(), rows = [], shown = null, hits = new Set(), picked = 0, low = 0, high = 1, now = null;
        const number = (v, d = 3) => v === null || v === undefined ? '–' : v.toFixed(d);
        function colour(v) {
          if (v === null || v === undefined) return 'transparent';
          const t = high > low ? (v - low) / (high - low) : .5;
          return `color-mix(in srgb, var(${t > .5 ? '--right' : '--wrong'}) ${Math.round(Math.abs(t - .5) * 90)}%, transparent)`;
        }
        const ancestors = (id, set) => { for (let m = id; m !== undefined && !set.has(m); m = nodes[m].parent) set.add(m); return set; };
        function show(index) {
          now = trees[index];
          nodes = now.nodes.map(n => ({...n, children: []}));
          for (const n of nodes) if (n.parent !== undefined) nodes[n.parent].children.push(n.id);
          low = Infinity; high = -Infinity;
          for (const n of nodes) if (n.value !== null && n.value !== undefined) { low = Math.min(low, n.value); high = Math.max(high, n.value); }
          winning = ancestors(now.best, new Set());
          open = new Set(winning); picked = now.best;
          $('facts').textContent = `${nodes.length - 1} steps, ${now.calls} samples, ${now.distinct_tokens} distinct tokens; ${now.correct ? 'right' : !now.finished ? 'not finished' : now.correct === undefined ? 'finished' : 'wrong'}`;
          refilter(false);
          reveal();
        }
        function refilter(jump) {
          const test = tests[$('filter').value], text = $('find').value;
          shown = null; hits = new Set();
          if (test || text) {
            shown = new Set([0]);
            for (const n of nodes) if ((!test || test(n)) && (!text || n.text.includes(text))) { hits.add(n.id); ancestors(n.id, shown); }
            open = new Set(shown);
            if (jump && hits.size && !hits.has(picked)) picked = hits.values().next().value;
          }
          $('hits').textContent = shown ? `${hits.size} of ${nodes.length - 1} steps` : '';
          layout();
          if (jump) reveal();
        }
        function cell(kind, text) { const e = document.createElement(kind === 'b' ? 'b' : 'span'); e.className = kind; e.textContent = text; return e; }
        function layout() {
          rows = [];
          const stack = [[0, 0]];
          while (stack.length) {
            const [id, depth] = stack.pop(), n = nodes[id];
            rows.push([id, depth]);
            if (open.has(id)) for (let i = n.children.length - 1; i >= 0; i--) if (!shown || shown.has(n.children[i])) stack.push([n.children[i], depth + 1]);
          }
          room.style.height = rows.length * height + 'px';
          draw();
        }
        function draw() {
          const first = Math.max(0, Math.floor(tree.scrollTop / height) - 10), last = Math.min(rows.length, first + Math.ceil(tree.clientHeight / height) + 20), seen = [];
          for (let i = first; i < last; i++) {
            const [id, depth] = rows[i], n = nodes[id], row = document.createElement('div');
            row.className = 'row' + (winning.has(id) ? ' path' : '') + (id === picked ? ' pick' : '') + (n.kept || winning.has(id) ? '' : ' pruned') + (hits.has(id) ? ' hit' : '');
            row.style.top = i * height + 'px'; row.style.paddingLeft = 8 + Math.min(depth, 40) * 16 + 'px'; row.dataset.at = i;
            row.setAttribute('role', 'treeitem'); row.setAttribute('aria-level', depth + 1); row.setAttribute('aria-selected', id === picked);
            if (n.children.length) row.setAttribute('aria-expanded', open.has(id));
            row.append(cell('b', n.children.length ? (open.has(id) ? '▾' : '▸') : ''));
            const value = cell('num', number(n.value)); value.style.background = colour(n.value); row.append(value);
            row.append(cell('state', n.state === 'finished' ? '■' : n.state === 'cut' ? '✂' : '·'), cell('text', n.text.trim().replace(/\n/g, ' ⏎ ') || '(empty)'));
            if (n.visits > 1) row.append(cell('state', '×' + n.visits));
            seen.push(row);
          }
          room.replaceChildren(...seen);
          tell();
        }
        function reveal() {
          const at = rows.findIndex(r => r[0] === picked);
          if (at < 0) return;
          if (at * height < tree.scrollTop) tree.scrollTop = Math.max(0, (at - 2) * height);
          else if ((at + 1) * height > tree.scrollTop + tree.clientHeight) tree.scrollTop = (at + 3) * height - tree.clientHeight;
          draw();
        }
        function tell() {
          const n = nodes[picked], list = document.createElement('dl'), text = document.createElement('pre'), path = [];
          const facts = [['value', number(n.value, 4)], ['advantage', number(n.advantage, 4)], ['log-prob', number(n.log_prob)], ['visits', n.visits], ['tokens', n.ids.length], ['steps below', n.children.length], ['state', n.state + (n.kept ? ', kept' : ', pruned') + (picked === now.best ? ', the answer' : '')]];
          list.className = 'facts';
          for (const [name, value] of facts) { const d = document.createElement('div'), t = document.createElement('dt'), v = document.createElement('dd'); t.textContent = name; v.textContent = value; d.append(t, v); list.append(d); }
          for (let m = picked; m !== undefined; m = nodes[m].parent) path.unshift(m);
          for (const m of path) { const s = document.createElement(m === picked ? 'mark' : 'span'); s.textContent = nodes[m].text; text.append(s); }
          side.replaceChildren(list, text);
          if (now.reference) side.append(cell('note', 'reference: ' + now.reference));
        }
        tree.append(room);
        tree.addEventListener('scroll', draw);
        addEventListener('resize', draw);
        tree.addEventListener('click', e => {
          const row = e.target.closest('.row'); if (!row) return;
          const id = rows[+row.dataset.at][0];
          if (id === picked || e.target.tagName === 'B') { if (open.has(id)) open.delete(id); else open.add(id); }
          picked = id; layout();
        });
        tree.addEventListener('keydown', e => {
          const at = rows.findIndex(r => r[0] === picked);
          if (e.key === 'ArrowDown') { if (at + 1 < rows.length) picked = rows[at + 1][0]; }
          else if (e.key === 'ArrowUp') { if (at > 0) picked = rows[at - 1][0]; }
          else if (e.key === 'ArrowRight') open.add(picked);
          else if (e.key === 'ArrowLeft') { if (open.has(picked)) open.delete(picked); else if (nodes[picked].parent !== undefined) picked = nodes[picked].parent; }
          else return;
          e.preventDefault(); layout(); reveal();
        });
        function reopen(test) { open = new Set([0]); for (const n of nodes) if (test(n)) ancestors(n.id, open); layout(); reveal(); }
        $('winning').onclick = () => { $('filter').value = $('find').value = ''; picked = now.best; refilter(false); reopen(n => winning.has(n.id)); };
        $('kept').onclick = () => reopen(n => n.kept);
        $('all').onclick = () => reopen(() => true);
        $('none').onclick = () => { picked = 0; open = new Set(); layout(); reveal(); };
        $('find').oninput = $('filter').onchange = () => refilter(true);
        $('find').onkeydown = e => {
          if (e.key !== 'Enter' || !hits.size) return;
          const order = rows.map(r => r[0]).filter(id => hits.has(id)), at = order.indexOf(picked);
          picked = order[(at + (e.shiftKey ? order.length - 1 : 1)) % order.length]; layout(); reveal();
        };
        trees.forEach((t, i) => { const o = document.createElement('option'); o.value = i; o.textContent = `line ${t.line}: ${t.question.slice(0, 60)}${t.correct ? ' ✓' : ''}`; $('problem').append(o); });
        $('problem').onchange = e => { tree.scrollTop = 0; show(+e.target.value); };
        if (trees.length) show(0); else side.textContent = 'There is no tree.';
        """;
}
