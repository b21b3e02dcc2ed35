using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.TreeExpansion;

/// <summary>
/// One round of a search over many trees at once, whose paths lie in pages of keys and values: the best branches of each problem go
/// on (<see cref="Keep"/>), their children get page tables and pages of their own (<see cref="Fork"/>), and the new tokens get their
/// places (<see cref="Place"/>). Which page belongs to whom is the caller's book-keeping; what it decides is carried out here where the
/// pages are, in a few launches whatever the number of branches and layers.
/// </summary>
public static class TreeExpansion
{
    /// <summary>Columns of a change of page tables: place in the table (row × m + number of the page in the sequence; −1 for none), page, page to copy from.</summary>
    public const int ChangeWords = 3;

    /// <summary>Columns of a new token: id, or ~i for the i-th drawn one; row of its sequence in the page table; position.</summary>
    public const int TokenWords = 3;

    /// <summary>
    /// Keeps the best of each problem: kept[p, r] is the index of the branch of rank r among those of problem p. Of equal scores the
    /// lower index is better; scores that are no finite number come last, in order of index; −1 fills up where there are fewer branches.
    /// </summary>
    /// <param name="scores">[n, 1], the branches of one problem side by side.</param>
    /// <param name="starts">I32 [problems + 1, 1], ascending from 0 to n.</param>
    /// <param name="kept">I32 [problems, B], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or starts are not ascending from 0 to n.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Keep(Tensor scores, Tensor starts, Tensor kept)
    {
        const string Op = "TreeExpansion.Keep";
        Device device = Contract.DeviceOf(scores, Op, "scores");
        Contract.Is(scores, device, Op, "scores", scores.Rows, 1);
        Contract.Is(kept, device, Op, "kept", DType.I32, kept.Rows, kept.Columns);
        Contract.Is(starts, device, Op, "starts", DType.I32, kept.Rows + 1, 1);
        switch (device)
        {
            case CpuDevice: TreeExpansionCpu.Keep(Op, scores, starts, kept); break;
            case KernelDevice kernels: TreeExpansionCuda.Keep(kernels, scores, starts, kept); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>
    /// Writes pages into page tables, pageTable[place] = page, and copies the contents of those that a branch takes over from its
    /// parent to write on: in all layers, page = contents of the page to copy from.
    /// </summary>
    /// <param name="changes">
    /// I32 [n, <see cref="ChangeWords"/>], each place once. A page that is copied to is nobody's source.
    /// </param>
    /// <param name="copies">How many copy a page: these come first.</param>
    /// <param name="pageTable">I32 [sequences, m], other places keep their contents; may be empty where every place is −1.</param>
    /// <param name="pages">The pages of all layers; may be null where nothing is copied.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or (on the CPU) a place or page lies outside.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Fork(Tensor changes, int copies, Tensor pageTable, PageTensors? pages)
    {
        const string Op = "TreeExpansion.Fork";
        Device device = Contract.DeviceOf(changes, Op, "changes");
        Contract.Is(changes, device, Op, "changes", DType.I32, changes.Rows, ChangeWords);
        if (!pageTable.IsEmpty) Contract.Is(pageTable, device, Op, "pageTable", DType.I32, pageTable.Rows, pageTable.Columns);
        if (copies < 0 || copies > changes.Rows || (copies > 0 && pages is null))
            throw new ShapeException($"{Op}: {copies} copies asked of {changes.Rows} changes with {(pages is null ? "no pages" : "pages")}.");
        if (copies > 0 && pages!.Device != device) throw new DeviceException($"{Op}: pages are on {pages.Device.Name}, the first argument on {device.Name}; copy them there first.");
        switch (device)
        {
            case CpuDevice: TreeExpansionCpu.Fork(Op, changes, copies, pageTable, pages); break;
            case KernelDevice kernels: TreeExpansionCuda.Fork(kernels, changes, copies, pageTable, pages); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>
    /// Says where new tokens belong: slot = pageTable[row, position / P] · P + position mod P. An id that was drawn on the device
    /// and that the host has not seen yet is taken from where it was left.
    /// </summary>
    /// <param name="tokens">I32 [n, <see cref="TokenWords"/>].</param>
    /// <param name="drawn">I32 [m, 1] from <see cref="Sample.Sample.Next"/>; empty where every id is given.</param>
    /// <param name="pageTable">I32 [sequences, m].</param>
    /// <param name="pageTokens">P.</param>
    /// <param name="placed">What a pass over the pages reads, overwritten. On a card a token of no known row or page gets a slot below 0, which is not kept, and one that was not drawn the id −1.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or (on the CPU) a token lies outside the table.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Place(Tensor tokens, Tensor drawn, Tensor pageTable, int pageTokens, in PlacedTokens placed)
    {
        const string Op = "TreeExpansion.Place";
        Device device = Contract.DeviceOf(tokens, Op, "tokens");
        Contract.Is(tokens, device, Op, "tokens", DType.I32, tokens.Rows, TokenWords);
        if (!drawn.IsEmpty) Contract.Is(drawn, device, Op, "drawn", DType.I32, drawn.Rows, 1);
        Contract.Is(pageTable, device, Op, "pageTable", DType.I32, pageTable.Rows, pageTable.Columns);
        Contract.Is(placed.Ids, device, Op, "ids", DType.I32, tokens.Rows, 1);
        Contract.Is(placed.Positions, device, Op, "positions", DType.I32, tokens.Rows, 1);
        Contract.Is(placed.Slots, device, Op, "slots", DType.I32, tokens.Rows, 1);
        Contract.Is(placed.RowSequence, device, Op, "rowSequence", DType.I32, tokens.Rows, 1);
        Contract.Is(placed.RowLength, device, Op, "rowLength", DType.I32, tokens.Rows, 1);
        if (pageTokens < 1) throw new ShapeException($"{Op}: expected pages of at least one token, received {pageTokens}.");
        switch (device)
        {
            case CpuDevice: TreeExpansionCpu.Place(Op, tokens, drawn, pageTable, pageTokens, placed); break;
            case KernelDevice kernels: TreeExpansionCuda.Place(kernels, tokens, drawn, pageTable, pageTokens, placed); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}

/// <summary>New tokens as a pass over pages reads them, each tensor I32 [n, 1].</summary>
/// <param name="Ids">Token ids.</param>
/// <param name="Positions">Position in the sequence.</param>
/// <param name="Slots">Page × P + place in the page.</param>
/// <param name="RowSequence">Row of the page table.</param>
/// <param name="RowLength">Visible tokens: position + 1.</param>
public readonly record struct PlacedTokens(Tensor Ids, Tensor Positions, Tensor Slots, Tensor RowSequence, Tensor RowLength);
