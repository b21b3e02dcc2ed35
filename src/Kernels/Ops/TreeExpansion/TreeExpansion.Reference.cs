namespace Bellman.Kernels.Ops.TreeExpansion;

/// <summary>Tree expansion written to be read.</summary>
internal static class TreeExpansionReference
{
    /// <summary>Indices of the branches first..end by rank: that of a branch is the number of those that are better.</summary>
    public static void Keep(ReadOnlySpan<float> scores, int first, int end, Span<int> kept)
    {
        kept.Fill(-1);
        for (int i = first; i < end; i++)
        {
            int better = 0;
            for (int j = first; j < end; j++)
                if (Rank(scores[j]) > Rank(scores[i]) || (Rank(scores[j]) == Rank(scores[i]) && j < i)) better++;
            if (better < kept.Length) kept[better] = i;
        }
    }

    /// <summary>The changes in turn; <paramref name="pages"/> holds one array of pages × <paramref name="pageFloats"/> per tensor.</summary>
    public static void Fork(ReadOnlySpan<int> changes, int copies, Span<int> pageTable, float[][] pages, int pageFloats)
    {
        for (int i = 0; i < changes.Length / 3; i++)
        {
            (int place, int page, int from) = (changes[3 * i], changes[3 * i + 1], changes[3 * i + 2]);
            if (place >= 0) pageTable[place] = page;
            if (i >= copies) continue;
            foreach (float[] tensor in pages)
                for (int c = 0; c < pageFloats; c++) tensor[page * pageFloats + c] = tensor[from * pageFloats + c];
        }
    }

    /// <summary>Id, position, slot, row and length of each token.</summary>
    public static (int Id, int Position, int Slot, int Row, int Length)[] Place(ReadOnlySpan<int> tokens, ReadOnlySpan<int> drawn, ReadOnlySpan<int> pageTable, int maxPages, int pageTokens)
    {
        var placed = new (int, int, int, int, int)[tokens.Length / 3];
        for (int i = 0; i < placed.Length; i++)
        {
            (int id, int row, int position) = (tokens[3 * i], tokens[3 * i + 1], tokens[3 * i + 2]);
            int page = pageTable[row * maxPages + position / pageTokens];
            placed[i] = (id >= 0 ? id : drawn[-1 - id], position, page * pageTokens + position % pageTokens, row, position + 1);
        }
        return placed;
    }

    private static double Rank(float score) => float.IsFinite(score) ? score : double.NegativeInfinity;
}
