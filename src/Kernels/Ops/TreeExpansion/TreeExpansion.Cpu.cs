namespace Bellman.Kernels.Ops.TreeExpansion;

/// <summary><see cref="TreeExpansion"/> on the CPU: there is little to do, so one thread does it.</summary>
internal static class TreeExpansionCpu
{
    public static void Keep(string op, Tensor scores, Tensor starts, Tensor kept)
    {
        ReadOnlySpan<float> score = scores.AsSpan<float>();
        ReadOnlySpan<int> start = starts.AsSpan<int>();
        for (int p = 0; p < start.Length; p++)
            if (p == 0 ? start[0] != 0 : start[p] < start[p - 1] || start[p] > score.Length) throw Unordered(op, score.Length);
        if (start[^1] != score.Length) throw Unordered(op, score.Length);
        for (int problem = 0; problem < kept.Rows; problem++)
        {
            Span<int> best = kept.Row<int>(problem);
            int count = 0;
            for (int i = start[problem]; i < start[problem + 1]; i++)
            {
                // An equal score stays behind the earlier one.
                int at = count;
                while (at > 0 && Rank(score[i]) > Rank(score[best[at - 1]])) at--;
                if (at == best.Length) continue;
                count = Math.Min(count + 1, best.Length);
                for (int r = count - 1; r > at; r--) best[r] = best[r - 1];
                best[at] = i;
            }
            best[count..].Fill(-1);
        }
    }

    public static void Fork(string op, Tensor changes, int copies, Tensor pageTable, PageTensors? pages)
    {
        ReadOnlySpan<int> words = changes.AsSpan<int>();
        Span<int> table = pageTable.AsSpan<int>();
        for (int i = 0; i < changes.Rows; i++)
        {
            (int place, int page, int from) = Change(words, i);
            if (place < -1 || place >= table.Length || page < 0 || (i < copies && ((uint)page >= (uint)pages!.Rows || (uint)from >= (uint)pages.Rows)))
                throw new ShapeException($"{op}: change {i} (place {place}, page {page}, copied from {from}) lies outside a table of {table.Length} places{(pages is null ? "" : $" or {pages.Rows} pages")}.");
        }
        for (int i = 0; i < changes.Rows; i++)
        {
            (int place, int page, int from) = Change(words, i);
            if (place >= 0) table[place] = page;
            if (i >= copies) continue;
            foreach (Tensor tensor in pages!.Items) tensor.Row<float>(from).CopyTo(tensor.Row<float>(page));
        }
    }

    public static void Place(string op, Tensor tokens, Tensor drawn, Tensor pageTable, int pageTokens, in PlacedTokens placed)
    {
        ReadOnlySpan<int> words = tokens.AsSpan<int>(), draws = drawn.AsSpan<int>(), table = pageTable.AsSpan<int>();
        Span<int> ids = placed.Ids.AsSpan<int>(), positions = placed.Positions.AsSpan<int>(), slots = placed.Slots.AsSpan<int>();
        Span<int> rows = placed.RowSequence.AsSpan<int>(), lengths = placed.RowLength.AsSpan<int>();
        for (int i = 0; i < tokens.Rows; i++)
        {
            int id = words[i * TreeExpansion.TokenWords], row = words[i * TreeExpansion.TokenWords + 1], position = words[i * TreeExpansion.TokenWords + 2];
            if ((uint)row >= (uint)pageTable.Rows || position < 0 || position / pageTokens >= pageTable.Columns || ~id >= draws.Length)
                throw new ShapeException($"{op}: token {i} (id {id}, row {row}, position {position}) lies outside a table of {pageTable.Rows}×{pageTable.Columns} pages or {draws.Length} drawn ids.");
            (ids[i], positions[i], rows[i], lengths[i]) = (id >= 0 ? id : draws[~id], position, row, position + 1);
            slots[i] = table[row * pageTable.Columns + position / pageTokens] * pageTokens + position % pageTokens;
        }
    }

    private static (int Place, int Page, int From) Change(ReadOnlySpan<int> words, int i) =>
        (words[i * TreeExpansion.ChangeWords], words[i * TreeExpansion.ChangeWords + 1], words[i * TreeExpansion.ChangeWords + 2]);

    private static float Rank(float score) => float.IsFinite(score) ? score : float.NegativeInfinity;

    private static ShapeException Unordered(string op, int scores) => new($"{op}: expected starts ascending from 0 to {scores}, the number of scores.");
}
