using System.Buffers;

namespace Bellman.Runtime.Tokenizers.Models;

/// <summary>
/// Applies merges to a row of symbols: always the pair of lowest rank, the leftmost of equals. Short rows are scanned;
/// long ones (a text without blanks, or SentencePiece, where the whole text is one row) take a heap, n·log n.
/// </summary>
internal static class Merger
{
    private const int ScanLimit = 32;

    /// <summary>Merges in place and returns how many symbols are left at the front.</summary>
    public static int Merge(Span<int> symbols, MergeTable table) =>
        symbols.Length < 2 ? symbols.Length : symbols.Length <= ScanLimit ? Scan(symbols, table) : Heap(symbols, table);

    private static int Scan(Span<int> symbols, MergeTable table)
    {
        int count = symbols.Length;
        Span<int> ranks = stackalloc int[ScanLimit], merged = stackalloc int[ScanLimit];
        for (int i = 0; i + 1 < count; i++) ranks[i] = table.Rank(symbols[i], symbols[i + 1], out merged[i]);
        while (count > 1)
        {
            int best = 0;
            for (int i = 1; i + 1 < count; i++)
                if (ranks[i] < ranks[best]) best = i;
            if (ranks[best] == int.MaxValue) break;
            symbols[best] = merged[best];
            symbols[(best + 2)..count].CopyTo(symbols[(best + 1)..]);
            if (best + 2 < count)
            {
                ranks[(best + 2)..(count - 1)].CopyTo(ranks[(best + 1)..]);
                merged[(best + 2)..(count - 1)].CopyTo(merged[(best + 1)..]);
            }
            count--;
            if (best > 0) ranks[best - 1] = table.Rank(symbols[best - 1], symbols[best], out merged[best - 1]);
            if (best + 1 < count) ranks[best] = table.Rank(symbols[best], symbols[best + 1], out merged[best]);
        }
        return count;
    }

    private static int Heap(Span<int> symbols, MergeTable table)
    {
        int count = symbols.Length;
        int[] next = ArrayPool<int>.Shared.Rent(count), previous = ArrayPool<int>.Shared.Rent(count);
        // Each merge removes one symbol and offers at most two new pairs, so the heap never holds more than 3n.
        ulong[] heap = ArrayPool<ulong>.Shared.Rent(checked(3 * count));
        int size = 0;
        for (int i = 0; i < count; i++)
        {
            next[i] = i + 1 < count ? i + 1 : -1;
            previous[i] = i - 1;
        }
        for (int i = 0; i + 1 < count; i++) Offer(symbols, i, i + 1);

        while (size > 0)
        {
            ulong top = Pop(heap, ref size);
            int at = (int)(uint)top, rank = (int)(top >> 32);
            // An entry is stale when its left symbol was swallowed (-1) or the pair has changed since.
            if (symbols[at] < 0 || next[at] < 0 || table.Rank(symbols[at], symbols[next[at]], out int merged) != rank) continue;
            int swallowed = next[at];
            symbols[at] = merged;
            symbols[swallowed] = -1;
            next[at] = next[swallowed];
            if (next[at] >= 0)
            {
                previous[next[at]] = at;
                Offer(symbols, at, next[at]);
            }
            if (previous[at] >= 0) Offer(symbols, previous[at], at);
        }

        int written = 0;
        for (int i = 0; i >= 0; i = next[i]) symbols[written++] = symbols[i];
        ArrayPool<int>.Shared.Return(next);
        ArrayPool<int>.Shared.Return(previous);
        ArrayPool<ulong>.Shared.Return(heap);
        return written;

        void Offer(Span<int> row, int left, int right)
        {
            int rank = table.Rank(row[left], row[right], out _);
            if (rank != int.MaxValue) Add(heap, ref size, ((ulong)(uint)rank << 32) | (uint)left);
        }
    }

    private static void Add(ulong[] heap, ref int size, ulong key)
    {
        int at = size++;
        while (at > 0 && heap[(at - 1) / 2] > key)
        {
            heap[at] = heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        heap[at] = key;
    }

    private static ulong Pop(ulong[] heap, ref int size)
    {
        ulong top = heap[0], last = heap[--size];
        int at = 0;
        while (2 * at + 1 < size)
        {
            int child = 2 * at + 1;
            if (child + 1 < size && heap[child + 1] < heap[child]) child++;
            if (heap[child] >= last) break;
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = last;
        return top;
    }
}
