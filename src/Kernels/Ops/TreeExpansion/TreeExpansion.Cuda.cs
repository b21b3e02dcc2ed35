using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.TreeExpansion;

/// <summary>
/// <see cref="TreeExpansion"/> on a card. Keeping: a block a problem, a thread a branch, whose rank is the number of better branches;
/// nothing is sorted, and every rank has one writer. Copying: a block a page and tensor. What lies outside is left out.
/// </summary>
internal static class TreeExpansionCuda
{
    private const int Threads = 128;
    private static readonly KernelTable<int> Keeps = new(_ => StageKeep()), Forks = new(_ => StageFork()), Places = new(_ => StagePlace());
    private static readonly KernelTable<(int Columns, DType Type)> Copies = new(x => StageCopy(x.Columns, x.Type));

    public static void Keep(KernelDevice device, Tensor scores, Tensor starts, Tensor kept) =>
        device.Launch(Keeps[0], new(kept.Rows), [scores, starts, kept, scores.Rows, kept.Columns]);

    public static void Fork(KernelDevice device, Tensor changes, int copies, Tensor pageTable, PageTensors? pages)
    {
        if (!pageTable.IsEmpty) device.Launch(Forks[0], Blocks(changes.Rows), [changes, pageTable, changes.Rows, checked((int)pageTable.Length)]);
        if (copies == 0) return;
        Tensor first = pages!.Items[0];
        device.Launch(Copies[(first.Columns, first.Type)], new(copies, pages.Items.Length), [pages.Addresses, changes, first.Rows]);
    }

    public static void Place(KernelDevice device, Tensor tokens, Tensor drawn, Tensor pageTable, int pageTokens, in PlacedTokens placed) => device.Launch(
        Places[0], Blocks(tokens.Rows),
        [
            tokens, drawn, pageTable, placed.Ids, placed.Positions, placed.Slots, placed.RowSequence, placed.RowLength,
            tokens.Rows, drawn.Rows, pageTable.Rows, pageTable.Columns, pageTokens,
        ]);

    private static Grid Blocks(int threads) => new((threads + Threads - 1) / Threads);

    private static Kernel StageKeep()
    {
        var k = new KernelBuilder("tree_keep", Threads);
        Floats scores = k.ArgumentFloats("scores", DType.F32);
        Pointer<S32> starts = k.ArgumentIntegers("starts"), kept = k.ArgumentIntegers("kept");
        S32 count = k.ArgumentS32("count"), width = k.ArgumentS32("width"), problem = k.BlockX;
        S32 first = starts[problem].Max(0), end = starts[problem + 1].Min(count);
        Pointer<S32> own = kept.Offset(problem * width);
        F32 Rank(S32 i)
        {
            F32 score = scores[i];
            return (score.Abs() <= float.MaxValue).Choose(score, float.NegativeInfinity);
        }
        k.For(first + k.Thread, end, Threads, i =>
        {
            F32 rank = Rank(i);
            Variable<S32> better = k.Variable<S32>(0);
            k.For(first, end, 1, j =>
            {
                F32 other = Rank(j);
                better.Value = better.Value + ((other > rank) | (other.Is(rank) & (j < i))).Choose(k.Integer(1), 0);
            });
            S32 place = better;
            k.If(place < width, () => own[place] = i);
        });
        k.For((end - first).Max(0) + k.Thread, width, Threads, place => own[place] = -1);
        return k.Build();
    }

    private static Kernel StageFork()
    {
        var k = new KernelBuilder("tree_fork", Threads);
        Pointer<S32> changes = k.ArgumentIntegers("changes"), table = k.ArgumentIntegers("pageTable");
        S32 count = k.ArgumentS32("count"), places = k.ArgumentS32("places"), own = k.BlockX.MultiplyAdd(Threads, k.Thread);
        k.If(own < count, () =>
        {
            S32 at = own * TreeExpansion.ChangeWords, place = changes[at];
            k.If((place >= 0) & (place < places), () => table[place] = changes[at + 1]);
        });
        return k.Build();
    }

    private static Kernel StageCopy(int columns, DType type)
    {
        var k = new KernelBuilder($"tree_copy_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Pointer<S64> addresses = k.ArgumentTable<S64>("addresses");
        Pointer<S32> changes = k.ArgumentIntegers("changes");
        S32 pages = k.ArgumentS32("pages"), at = k.BlockX * TreeExpansion.ChangeWords, to = changes[at + 1], from = changes[at + 2];
        var tensor = new Floats(addresses[k.BlockY], type);
        var tile = new RowTile(k, columns);
        k.If((to >= 0) & (to < pages) & (from >= 0) & (from < pages), () => tile.Store(tensor.Row(to, columns), tile.Load(tensor.Row(from, columns))));
        return k.Build();
    }

    private static Kernel StagePlace()
    {
        var k = new KernelBuilder("tree_place", Threads);
        Pointer<S32> tokens = k.ArgumentIntegers("tokens"), drawn = k.ArgumentIntegers("drawn"), table = k.ArgumentIntegers("pageTable");
        Pointer<S32> ids = k.ArgumentIntegers("ids"), positions = k.ArgumentIntegers("positions"), slots = k.ArgumentIntegers("slots");
        Pointer<S32> rowSequence = k.ArgumentIntegers("rowSequence"), rowLength = k.ArgumentIntegers("rowLength");
        S32 count = k.ArgumentS32("count"), draws = k.ArgumentS32("draws"), rows = k.ArgumentS32("rows"), columns = k.ArgumentS32("columns"), pageTokens = k.ArgumentS32("pageTokens");
        S32 own = k.BlockX.MultiplyAdd(Threads, k.Thread);
        k.If(own < count, () =>
        {
            S32 at = own * TreeExpansion.TokenWords, given = tokens[at], row = tokens[at + 1], position = tokens[at + 2], draw = given ^ -1, page = position / pageTokens;
            Variable<S32> id = k.Variable(given.Max(-1)), slot = k.Variable<S32>(-1);
            k.If((draw >= 0) & (draw < draws), () => id.Value = drawn[draw]);
            k.If((row >= 0) & (row < rows) & (position >= 0) & (page < columns), () =>
                slot.Value = table[row.MultiplyAdd(columns, page)].MultiplyAdd(pageTokens, position - page * pageTokens));
            (ids[own], positions[own], slots[own], rowSequence[own], rowLength[own]) = (id.Value, position, slot.Value, row, position + 1);
        });
        return k.Build();
    }
}
